"""The real Envoy on a bootstrap that the compiler made, in front of services that answer as a test tells them to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
from azora.auth.v1 import token_service_pb2
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from jwt.algorithms import ECAlgorithm
from prometheus_client import CollectorRegistry

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.compiler.contract import load_contract
from services.compiler.envoy import (
    LocalSettings,
    Pipe,
    Profile,
    discovery_files,
    endpoints,
    local,
    socket_path,
    write_bootstrap,
)
from services.compiler.envoy.authentication import GET_JWKS
from services.compiler.envoy.discovery import file_name
from services.deployment.files import write_private
from services.deployment.pki import ensure_pki
from services.local.envoy import admin_client, installed_envoy
from services.shared.limits import MAX_METADATA_BYTES
from services.shared.policy import infrastructure_policies
from services.shared.principal import current_request
from tests.support.ports import free_port
from tests.support.serving import ISSUER, KEY_ID, Signer, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping

    from interceptors.base import Chain

ORIGIN = "https://app.example.com"
"""The web origin that a browser may call from."""
UNLIMITED = 10_000.0
CONTRACT = load_contract()


@dataclass(frozen=True, slots=True)
class Received:
    """A call as it arrived at a service."""

    path: str
    headers: Mapping[str, str]
    message: bytes
    user_id: str = ""
    """Of the principal that the interceptors found, where they stand before the service."""


@dataclass(slots=True)
class Replica(grpc.GenericRpcHandler):
    """A service that answers every RPC: with an empty message, unless `answers` knows better."""

    signer: Signer
    answers: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, Any] = field(default_factory=dict)
    """Of methods that stream: asynchronous generators of messages."""
    received: list[Received] = field(default_factory=list)
    health: Any = field(default_factory=health_aio.HealthServicer)
    guarded: bool = False
    """Whether the real interceptors stand before it, as in every service."""
    server: Any = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        path = handler_call_details.method
        if path.startswith("/grpc."):
            return None

        async def handle(request: Any, context: aio.ServicerContext[Any, Any]) -> bytes:
            headers = {key: str(value) for key, value in context.invocation_metadata() or ()}
            served = current_request() if self.guarded else None
            message = request.SerializeToString() if self.guarded else request
            call = Received(path, headers, message, served.principal.user_id if served else "")
            self.received.append(call)
            if path == GET_JWKS:
                return await self._keys()
            answer = self.answers.get(path.rpartition("/")[2])
            return bytes(await answer(call, context)) if answer else b""

        stream = self.streams.get(path.rpartition("/")[2])
        parse: Any = GetMessageClass(CONTRACT.methods[path].input_type).FromString if self.guarded else None
        if stream is None:
            return grpc.unary_unary_rpc_method_handler(handle, request_deserializer=parse)

        async def produce(message: bytes, context: aio.ServicerContext[Any, Any]) -> AsyncIterator[bytes]:
            await handle(message, context)
            async for response in stream(self.received[-1], context):
                yield response

        return grpc.unary_stream_rpc_method_handler(produce)

    async def start(self, path: Path, pki: Path | None = None, port: int = 0) -> None:
        """Listen on a unix socket, and with `pki` on a TCP port too, with Auth's certificate, for parts of the mesh."""
        limits = [(f"grpc.{name}", MAX_METADATA_BYTES) for name in ("max_metadata_size", "absolute_max_metadata_size")]
        interceptors = [interceptors_of(self.signer)] if self.guarded else []
        self.server = aio.server(interceptors=interceptors, options=[("grpc.http2.max_ping_strikes", 0), *limits])
        self.server.add_generic_rpc_handlers((self,))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        await self.health.set("grpc.health.v1.Health", health_pb2.HealthCheckResponse.SERVING)
        self.server.add_insecure_port(f"unix:{path}")
        if pki is not None:
            files = ("auth.key", "auth.crt", "ca.crt")
            key, certificate, authority = ((pki / name).read_bytes() for name in files)
            credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
            self.server.add_secure_port(f"localhost:{port}", credentials)
        await self.server.start()

    async def _keys(self) -> bytes:
        jwk: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(await self.signer.key(KEY_ID)))  # type: ignore[arg-type]
        key = token_service_pb2.Jwk(**{name: jwk[name] for name in ("kty", "crv", "x", "y")}, kid=KEY_ID, alg="ES256")
        return token_service_pb2.GetJwksResponse(keys=[key]).SerializeToString()


@dataclass(slots=True)
class Edge:
    """A running Envoy, and what stands behind it."""

    profile: Profile
    folder: Path
    signer: Signer
    replicas: Mapping[str, list[Replica]]
    loop: asyncio.AbstractEventLoop
    """That of the replicas."""

    @property
    def url(self) -> str:
        scheme = "https" if self.profile.public_certificate else "http"
        return f"{scheme}://127.0.0.1:{self.profile.public.port}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.profile.public.port}"

    def bearer(self, **claims: Any) -> dict[str, str]:
        """Return the header of a signed-in user."""
        return {"authorization": f"Bearer {self.signer.token(**claims)}"}

    def forget(self) -> None:
        """Drop what arrived at the services, and what they were told to answer."""
        for group in self.replicas.values():
            for replica in group:
                replica.answers.clear()
                replica.streams.clear()
                replica.received.clear()

    def received(self, service: str) -> list[Received]:
        """Return all calls that arrived at a service, but for those of Envoy itself."""
        return [call for replica in self.replicas[service] for call in replica.received if call.path != GET_JWKS]

    async def start(self) -> None:
        """Start all replicas."""
        for name, group in self.replicas.items():
            for number, replica in enumerate(group):
                await self._in_loop(replica.start(socket_path(self.folder, name, number)))

    async def add(self, service: str) -> Replica:
        """Start another replica of a service, on its next socket. Envoy is still to be told."""
        group = self.replicas[service]
        replica = Replica(self.signer, guarded=group[0].guarded)
        await self._in_loop(replica.start(socket_path(self.folder, service, len(group))))
        group.append(replica)
        return replica

    def publish(self, service: str, *replicas: int) -> None:
        """Tell Envoy of a service's replicas, by their numbers."""
        found = [Pipe(str(socket_path(self.folder, service, number))) for number in replicas]
        write_private(Path(self.profile.discovery) / file_name(service), endpoints(service, found).encode())

    async def set_health(self, replica: Replica, status: Any) -> None:
        """Have a replica say of its health from now on that it is `status`."""
        await self._in_loop(replica.health.set("", status))

    async def stop(self, replica: Replica) -> None:
        """Stop a replica at once."""
        await self._in_loop(replica.server.stop(None))

    async def close(self) -> None:
        """Stop all replicas."""
        for group in self.replicas.values():
            for replica in group:
                await self.stop(replica)

    async def _in_loop(self, call: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self.loop))


@asynccontextmanager
async def running_edge(
    *, replicas: Mapping[str, int] | None = None, guarded: bool = False, **settings: Any
) -> AsyncIterator[Edge]:
    """Run Envoy on the local profile, with a stand-in for every service of the contract."""
    counts = dict.fromkeys((*CONTRACT.owners, "gateway"), 1) | dict(replicas or {})
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(short_folder())
        ensure_pki(folder / "pki")
        options: dict[str, Any] = {"rate_limit_scale": UNLIMITED, "public_url": ISSUER} | settings
        profile = local(LocalSettings(runtime=folder, pki=folder / "pki", port=free_port(), replicas=counts, **options))
        signer = Signer()
        parts = {name: [Replica(signer, guarded=guarded) for _ in range(count)] for name, count in counts.items()}
        edge = Edge(profile, folder, signer, parts, stack.enter_context(_running_loop()))
        await edge.start()
        stack.push_async_callback(edge.close)
        await stack.enter_async_context(running_envoy(profile, folder))
        await eventually(lambda: takes_tokens(edge.url, signer))
        await eventually(lambda: _knows_all_healthy(profile))
        edge.forget()
        yield edge


def interceptors_of(signer: Signer) -> Chain:
    """Return the interceptors of a service that knows the signer's key, without limits."""
    policies = {**infrastructure_policies(), **CONTRACT.policies}
    limiter = Limiter(scale=UNLIMITED, registry=CollectorRegistry())
    return chain(policies, verifier=signer.verifier(), limiter=limiter)


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in a thread: where the tests' own stands still between two tests, Envoy's checks go on."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def check_envoy_takes(bootstrap: Path) -> None:
    """Check that Envoy accepts a bootstrap and finds nothing deprecated in it."""
    verdict = subprocess.run(  # noqa: S603
        [installed_envoy(), "--mode", "validate", "--config-path", bootstrap, "--log-level", "warning"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert verdict.returncode == 0, verdict.stderr
    assert "Deprecated" not in verdict.stderr


def write_discovery(profile: Profile) -> None:
    """Put all that Envoy discovers by files into the profile's folder."""
    folder = Path(profile.discovery)
    folder.mkdir(exist_ok=True)
    for name, text in discovery_files(profile).items():
        write_private(folder / name, text.encode())


@asynccontextmanager
async def running_envoy(profile: Profile, folder: Path) -> AsyncIterator[None]:
    """Run Envoy on a profile until the end of the block."""
    write_discovery(profile)
    write_bootstrap(profile, folder / "envoy.json")
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            installed_envoy(),
            *("--config-path", f"{folder}/envoy.json", "--disable-hot-restart"),
            *("--concurrency", "1", "--log-level", "warning", "--file-flush-interval-msec", "500"),
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        assert await process.wait() == 0, (folder / "envoy.log").read_text()


async def _knows_all_healthy(profile: Profile) -> bool:
    """Whether Envoy has found every replica healthy, so that a test of several meets all of them."""
    async with admin_client(Path(profile.admin.path)) as admin:
        lines = (await admin.get("/clusters")).text.splitlines()
    return {line.rpartition("::")[2] for line in lines if "::health_flags::" in line} == {"healthy"}


async def takes_tokens(url: str, signer: Signer) -> bool:
    """Whether Envoy finds every service healthy and has Auth's keys."""
    headers = {"authorization": f"Bearer {signer.token()}"}
    try:
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - whatever certificate a test gives it
            answers = [await client.get(f"{url}{path}", headers=headers) for path in READS]
    except httpx.TransportError:
        return False
    return all(answer.status_code == httpx.codes.OK for answer in answers)


READS = ("/v1/auth/profile", "/v1/courses", "/v1/transactions")
"""A read of each service."""


def error_info(body: dict[str, Any]) -> dict[str, Any]:
    """Return the ErrorInfo of a google.rpc.Status in JSON."""
    (info,) = (detail for detail in body["details"] if detail["@type"].endswith("ErrorInfo"))
    return dict(info)


def memory_mib(edge: Edge) -> int:
    """Return the resident memory of an edge's Envoy."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{edge.folder}/envoy.json" in (process / "cmdline").read_text():
                status = (process / "status").read_text()
                return int(status.partition("VmRSS:")[2].split()[0]) // 1024
        except OSError:
            continue
    raise AssertionError("Envoy does not run")


async def failure(channel: aio.Channel, path: str, message: bytes, headers: Mapping[str, str]) -> aio.AioRpcError:
    """Make a gRPC call that is refused, and return how."""
    call: Any = channel.unary_unary(path)
    try:
        await call(message, metadata=tuple(headers.items()), timeout=10)
    except aio.AioRpcError as refused:
        return refused
    raise AssertionError(f"{path} was not refused")
