"""`azora call`: any RPC by its name, with JSON in and out."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from services.cli.output import Output
from services.compiler.contract import load_contract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.descriptor import MethodDescriptor
    from grpc import aio

ACCOUNTS = ("student", "educator", "admin")
"""The seeded accounts of a development system."""


def call(
    method: Annotated[str, typer.Argument(help="GetWallet, WalletService/GetWallet, or the full gRPC name.")],
    request: Annotated[str, typer.Argument(help="The request as JSON; - reads it from standard input.")] = "{}",
    *,
    target: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Call this address; by default the running local system.")
    ] = "",
    tls: Annotated[bool, typer.Option("--tls", help="Connect to the target with TLS.")] = False,
    authority: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Authorities (PEM) that issued the target's certificate.")
    ] = None,
    token: Annotated[str, typer.Option(envvar="AZORA_TOKEN", help="Access token.", show_default=False)] = "",
    account: Annotated[
        str, typer.Option("--as", metavar="|".join(ACCOUNTS), help="Sign in to the local system with a seeded account.")
    ] = "",
    key: Annotated[
        str, typer.Option(metavar="KEY", help="Idempotency key; a new one unless given, for RPCs that take one.")
    ] = "",
    json: Annotated[  # noqa: ARG001 - it prints nothing else
        bool, typer.Option("--json", help="As for every command; this one prints nothing else.", show_default=False)
    ] = True,
) -> None:
    """Call any RPC with JSON; messages of a stream are printed as lines.

    Without a token, an RPC of the running local system that needs one is called as its seeded student.
    """
    if account and (account not in ACCOUNTS or target):
        raise typer.BadParameter(f"--as is one of {', '.join(ACCOUNTS)}, and of the local system alone")
    for name, value in {"token": token, "key": key}.items():
        if not (value.isascii() and value.isprintable()):  # gRPC would fail by a traceback.
            raise typer.BadParameter(f"--{name} has characters that no header may have")
    called = Called(_method(method), sys.stdin.read() if request == "-" else request, token, account, key)
    raise typer.Exit(asyncio.run(_call(called, target, tls=tls, authority=authority)))


@dataclass(frozen=True, slots=True)
class Called:
    """What is called, and how."""

    method: MethodDescriptor
    request: str
    token: str
    account: str
    key: str

    @property
    def path(self) -> str:
        """The gRPC path."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def message(self) -> Any:
        """Return the request message. Raises typer.BadParameter."""
        from google.protobuf.json_format import Parse, ParseError  # noqa: PLC0415
        from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415

        kind = self.method.input_type
        try:
            return Parse(self.request, GetMessageClass(kind)(), descriptor_pool=load_contract().pool)
        except ParseError as error:
            raise typer.BadParameter(f"not a {kind.name}: {error}") from None


def _method(name: str) -> MethodDescriptor:
    """Return the one RPC with a name, which may leave out what stands before."""
    wanted = name.strip("/")
    methods = load_contract().methods
    found = [path for path in methods if path == f"/{wanted}" or path.endswith((f"/{wanted}", f".{wanted}"))]
    public = [path for path in found if ".InternalService/" not in path] or found
    if len(public) != 1:
        which = f"is one of {', '.join(path.strip('/') for path in public)}" if public else "is no RPC of the contract"
        raise typer.BadParameter(f"{name!r} {which}; `azora policy` lists all")
    return methods[public[0]]


async def _call(called: Called, target: str, *, tls: bool, authority: Path | None) -> int:
    from azora import client  # noqa: PLC0415
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415

    out, contract, message = Output(as_json=True), load_contract(), called.message()
    metadata = [("idempotency-key", called.key)] if called.key else []
    try:
        async with _channel(target, tls=tls, authority=authority) as channel:
            token = called.token
            if called.account or not (token or target or contract.policies[called.path].public):
                token = await _sign_in(channel, called.account or ACCOUNTS[0])
            if token:
                metadata += client.bearer(token)
            async for answer in _answers(channel, called, message, metadata):
                out.json(
                    MessageToDict(answer, always_print_fields_with_no_presence=True, descriptor_pool=contract.pool)
                )
    except client.CallError as error:
        answered = error.status.code != 0  # Nobody answered otherwise: there is no status but grpc's.
        status = MessageToDict(error.status, descriptor_pool=contract.pool) if answered else {"message": str(error)}
        sys.stderr.write(f"{orjson.dumps(status).decode()}\n")
        return 1
    return 0


async def _answers(
    channel: aio.Channel, called: Called, message: Any, metadata: list[tuple[str, str]]
) -> AsyncIterator[Any]:
    from google.protobuf.message_factory import GetMessageClass  # noqa: PLC0415

    decode = GetMessageClass(called.method.output_type).FromString
    encode = type(message).SerializeToString
    if called.method.server_streaming:
        stream = channel.unary_stream(called.path, request_serializer=encode, response_deserializer=decode)
        async for answer in stream(message, metadata=metadata):
            yield answer
    else:
        unary = channel.unary_unary(called.path, request_serializer=encode, response_deserializer=decode)
        yield await unary(message, metadata=metadata)


def _channel(target: str, *, tls: bool, authority: Path | None) -> aio.Channel:
    from azora import client  # noqa: PLC0415

    from services.cli.databases import running_system  # noqa: PLC0415

    if target:
        return client.connect(target, tls=tls, authority=authority)
    return running_system().settings.public_port.channel()


async def _sign_in(channel: aio.Channel, account: str) -> str:
    """Return an access token of a seeded account."""
    from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc  # noqa: PLC0415

    from services.demo.seed import ADMIN, EDUCATOR, STUDENT  # noqa: PLC0415

    seeded = dict(zip(ACCOUNTS, (STUDENT, EDUCATOR, ADMIN), strict=True))[account]
    stub = auth_service_pb2_grpc.AuthServiceStub(channel)
    answer = await stub.Login(auth_service_pb2.LoginRequest(email=seeded.email, password=seeded.password))
    return str(answer.access_token)
