"""A gRPC server that does nothing but answer: python -m bench.echo SOCKET ANSWERS [--chain].

`ANSWERS` is a JSON file of messages by RPC path, in hexadecimal; the path of `ECHO` returns the request. Bare, nothing
on this stack can be faster. With the chain it serves the contract's own RPCs behind the interceptors that every service
has, and logs as they do: then what it lacks beside the real service is the handler, and Envoy before it can be the real
Envoy with the real contract, as routes, token checks and transcoding depend on the RPC alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import signal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvloop
from azora.auth.v1 import token_service_pb2
from google.protobuf import json_format
from grpc import aio
from grpc_health.v1 import health_pb2
from jwt.algorithms import ECAlgorithm

import services.shared.poller  # noqa: F401 - as the services do
from bench.client import HEALTH
from interceptors import chain
from interceptors.rate_limit import Limiter
from services.compiler.contract import load_contract
from services.shared import logs
from services.shared.policy import infrastructure_policies
from tests.support.serving import KEY_ID, Signer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

ECHO = "/azora.bench.v1.EchoService/Echo"
GET_JWKS = "/azora.auth.v1.TokenService/GetJwks"
SCALE = 100_000.0
GENERATED = {"grpc.health.v1.health": "grpc_health.v1.health_pb2"}
"""Modules that are not named after their .proto file."""


def main() -> None:
    """Serve until SIGTERM, having written a token to the file beside the socket that ends in `.token`."""
    parser = argparse.ArgumentParser(prog="python -m bench.echo")
    parser.add_argument("socket", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--chain", action="store_true")
    options = parser.parse_args()
    answers = {path: bytes.fromhex(message) for path, message in json.loads(options.answers.read_text()).items()}
    uvloop.run(_serve(options.socket, answers, chained=options.chain))


async def _serve(socket: Path, answers: Mapping[str, bytes], *, chained: bool) -> None:
    signer = Signer()
    server = aio.server(interceptors=[_chain(signer)] if chained else [])
    if chained:
        logs.configure("echo", "info")
        answers = {**answers, GET_JWKS: await _jwks(signer), HEALTH: _healthy()}
    for path, message in answers.items():
        _serve_path(server, path, _answer(message))
    if not chained:
        _serve_path(server, ECHO, _echo)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    _write_whole(socket.with_suffix(".token"), signer.token())
    gc.freeze()  # As the services do.
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.rename(path)


def _chain(signer: Signer) -> aio.ServerInterceptor:
    policies = infrastructure_policies() | dict(load_contract().policies)
    return chain(policies, verifier=signer.verifier(), limiter=Limiter(scale=SCALE))


def _serve_path(server: aio.Server, path: str, answer: Callable[[Any, Any], Awaitable[bytes]]) -> None:
    """Serve one RPC whose answers are bytes already; its request is parsed, where the contract says what it is."""
    service, method = path.removeprefix("/").split("/")
    handler: Any = grpc.unary_unary_rpc_method_handler(answer, request_deserializer=_request_type(service, method))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))


def _request_type(service: str, method: str) -> Any:
    """Return the parser of a method's requests, from the generated module: validation knows those classes alone."""
    for declared in load_contract().services:
        if declared.full_name == service:
            module = declared.file.name.removesuffix(".proto").replace("/", ".")
            name = declared.methods_by_name[method].input_type.name
            return getattr(import_module(GENERATED.get(module, f"{module}_pb2")), name).FromString
    return None


def _answer(message: bytes) -> Callable[[Any, Any], Awaitable[bytes]]:
    async def answer(_request: Any, _context: Any) -> bytes:
        return message

    return answer


async def _echo(request: bytes, _context: Any) -> bytes:
    return request


async def _jwks(signer: Signer) -> bytes:
    """Return the answer from which Envoy learns the key of this server's tokens."""
    public = await signer.key(KEY_ID)
    assert public is not None  # noqa: S101
    key = ECAlgorithm.to_jwk(public, as_dict=True) | {"kid": KEY_ID, "alg": "ES256", "use": "sig"}
    return json_format.ParseDict({"keys": [key]}, token_service_pb2.GetJwksResponse()).SerializeToString()


def _healthy() -> bytes:
    return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()


if __name__ == "__main__":
    main()
