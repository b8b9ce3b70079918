"""The gRPC server that every service runs: listening, health, reflection, draining. The one place that knows grpc."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import uvloop
from azora import client
from azora.client.certificates import CertificateFiles, read_pem
from google.protobuf import descriptor_pool
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from services.shared import logs, telemetry
from services.shared.background import Background
from services.shared.errors import ServiceUnknown
from services.shared.handlers import GenericHandlers
from services.shared.limits import FIRST_BYTES_SECONDS, MAX_MESSAGE_BYTES, MAX_METADATA_BYTES
from services.shared.policy import METRICS, compile_policies, infrastructure_policies
from services.shared.reflection import SymbolPool
from services.shared.settings import MeshSettings, ServerSettings, SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence

    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool

    from services.shared.policy import MethodPolicy

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings", bound=ServerSettings)

READINESS_SECONDS = 1.0
MAX_PROBES = 16
"""Maximum number of concurrent calls of probes."""
MAX_MISSES = 3
"""Checks of readiness that fail in a row until the service is NOT_SERVING."""
HEALTH: ServiceDescriptor = health_pb2.DESCRIPTOR.services_by_name["Health"]  # type: ignore[assignment]
SERVING = health_pb2.HealthCheckResponse.SERVING
REFLECTION_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class CannotListenError(OSError):
    """The server's address is taken, or not of this machine."""


class EndedError(RuntimeError):
    """The server has ended by itself: gRPC answers nothing any more."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One gRPC service: its descriptor, its servicer, and the generated function that adds the one to a server."""

    descriptor: ServiceDescriptor
    servicer: Any
    add: Callable[[Any, aio.Server], None]

    @classmethod
    def of(cls, servicer: object) -> Registration:
        """Return the registration of an instance of a generated servicer's subclass.

        Descriptor and add-function follow from the generated base class. Raises TypeError for anything else.
        """
        for base in type(servicer).__mro__:
            if base.__module__.endswith("_pb2_grpc"):
                messages = importlib.import_module(base.__module__.removesuffix("_grpc"))
                descriptor = messages.DESCRIPTOR.services_by_name[base.__name__.removesuffix("Servicer")]
                return cls(
                    descriptor, servicer, getattr(sys.modules[base.__module__], f"add_{base.__name__}_to_server")
                )
        raise TypeError(f"{type(servicer).__name__} is no subclass of a generated servicer")


class Health(health_aio.HealthServicer):
    """The package's health servicer, with the method that it leaves out, and refusals as typed errors."""

    def __init__(self) -> None:
        super().__init__()
        self._listed = [""]

    async def set(self, service: str, status: Any) -> None:
        """Publish the status of a service."""
        if service not in self._listed:
            self._listed.append(service)
        await super().set(service, status)

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Return the status of a service. Raises ServiceUnknown for one that is not known, as the protocol asks."""
        if request.service not in self._listed:
            raise ServiceUnknown
        return await super().Check(request, context)

    async def List(self, _request: Any, context: Any) -> Any:  # noqa: N802 - the RPC's name
        """Return the status of every service by name."""
        answers = {
            name: await self.Check(health_pb2.HealthCheckRequest(service=name), context) for name in self._listed
        }
        response: Any = health_pb2.HealthListResponse  # type: ignore[attr-defined] # The stubs are older than it.
        return response(statuses=answers)


@dataclass(slots=True)
class Server:
    """A gRPC server with health (its readiness, watched every second) and, if asked, reflection v1 and v1alpha."""

    settings: ServerSettings
    interceptor: Callable[[Mapping[str, MethodPolicy]], aio.ServerInterceptor]
    """Makes the interceptor that holds calls against the policies of all that is served."""
    services: Sequence[Registration]
    ready: Callable[[], Awaitable[bool]]
    """Whether the service can do its work now: its own database answers. It asks no other service."""
    background: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    """What runs beside the server until it ends. A task that keeps crashing makes health say NOT_SERVING."""
    drain: Sequence[Callable[[], None]] = ()
    """Ends the streams that would outlast a shutdown, once the mesh sends no more calls here."""
    close: Sequence[Callable[[], Awaitable[None]]] = ()
    """What is closed after the last call."""
    metrics: Callable[[], Awaitable[bytes]] | None = None
    """Returns this process's metrics for the gateway to collect; unset offers none."""
    pool: DescriptorPool | None = None
    """The descriptors that reflection shows; unset means all that this process knows."""
    reflected: Sequence[str] = ()
    """The services that reflection lists; unset means those that are served here."""
    health: Health = field(default_factory=Health)
    max_misses: int = MAX_MISSES
    """Checks of readiness that fail in a row until health is NOT_SERVING."""
    _server: aio.Server = field(init=False)
    _probed: aio.Server | None = field(init=False, default=None)
    """What answers probes."""
    _misses: int = field(init=False, default=MAX_MISSES)
    """Checks that have failed in a row. It begins as not ready."""
    _background: Background = field(init=False, default_factory=Background)
    _watchers: Background = field(init=False, default_factory=Background)

    async def start(self) -> None:
        """Listen, and begin to watch readiness. Raises CannotListenError; PolicyError for an RPC without a policy."""
        policies = infrastructure_policies() | compile_policies(
            registration.descriptor for registration in self.services
        )
        self._server = aio.server(
            interceptors=[self.interceptor(policies)],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.server_handshake_timeout_ms", FIRST_BYTES_SECONDS * 1000),  # Two minutes otherwise.
            ],
        )
        handlers = cast("aio.Server", GenericHandlers(self._server.add_generic_rpc_handlers))
        for registration in self.services:
            registration.add(registration.servicer, handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, handlers)
        if self.metrics is not None:
            self._serve_metrics(self.metrics)
        if self.settings.serves_reflection:
            self._serve_reflection()
        await self._check()
        self._listen()
        await self._server.start()
        await self._serve_probes()
        self._watchers.start("readiness", self._watch_readiness, crashed=partial(self._report, serving=False))
        for work in self.background:
            self._background.start(getattr(work, "__qualname__", repr(work)), work)
        logger.info("listening", extra={"listen": self.settings.listen})

    async def stop(self) -> None:
        """Say NOT_SERVING, wait until the mesh has noticed, finish calls in flight, close everything."""
        logger.info("draining")
        await self._watchers.stop()
        await self.health.enter_graceful_shutdown()
        await asyncio.sleep(self.settings.drain_seconds)
        for end in self.drain:
            end()
        await self._server.stop(self.settings.grace_seconds)
        await self._background.stop()
        if self._probed is not None:
            await self._probed.stop(None)
        for close in self.close:
            await close()
        logger.info("stopped")

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises EndedError when gRPC has ended the server, as it does for a path that is no UTF-8: a process that goes on
        without it looks healthy and answers nobody.
        """
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self.start()
        while not stop.is_set():
            if not self._running():
                raise EndedError("gRPC has ended the server")  # At once: `stop` would wait for connections.
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), READINESS_SECONDS)
        await self.stop()

    def _running(self) -> bool:
        """Whether gRPC serves. `wait_for_termination` would wait for open connections, too."""
        started: list[Any] = [self._server] if self._probed is None else [self._server, self._probed]
        return all(server._server.is_running() for server in started)  # noqa: SLF001 - the package tells it nowhere else

    def _listen(self) -> None:
        with _named(self.settings.listen):
            self._listen_on(self.settings.listen)

    async def _serve_probes(self) -> None:
        """Answer health checks without TLS, where settings ask for it: of the server, and of the bare process."""
        if self.settings.health_listen:
            await self.health.set(HEALTH.full_name, SERVING)
            self._probed = aio.server(options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=MAX_PROBES)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self._probed)
            with _named(self.settings.health_listen):
                self._probed.add_insecure_port(self.settings.health_listen)
            await self._probed.start()

    def _listen_on(self, address: str) -> None:
        if address.startswith("unix:"):
            with private_socket(address):
                self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, _credentials(self.settings))

    def _serve_metrics(self, text: Callable[[], Awaitable[bytes]]) -> None:
        async def get_metrics(_request: Any, _context: Any) -> BytesValue:
            return BytesValue(value=await text())

        handler = grpc.unary_unary_rpc_method_handler(
            get_metrics, request_deserializer=Empty.FromString, response_serializer=BytesValue.SerializeToString
        )
        _, service, method = METRICS.split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))

    def _serve_reflection(self) -> None:
        served = [registration.descriptor.full_name for registration in self.services]
        names = self.reflected or [*served, HEALTH.full_name, *REFLECTION_NAMES]
        servicer = ReflectionServicer(names, pool=SymbolPool(self.pool or descriptor_pool.Default()))
        handler = grpc.stream_stream_rpc_method_handler(
            _streaming(servicer),
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        # The package ships v1alpha only; v1 has the same messages under another name, and newer clients ask it first.
        for name in REFLECTION_NAMES:
            generic = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
            self._server.add_generic_rpc_handlers((generic,))

    async def _watch_readiness(self) -> None:
        while True:
            await asyncio.sleep(READINESS_SECONDS)
            await self._check()

    async def _check(self) -> None:
        """Publish readiness: SERVING as soon as one check succeeds, NOT_SERVING when several in a row have failed."""
        self._misses = 0 if await self.ready() else self._misses + 1
        await self._report(serving=self._misses < self.max_misses and self._background.healthy)

    async def _report(self, *, serving: bool) -> None:
        status = SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *(registration.descriptor.full_name for registration in self.services)):
            await self.health.set(name, status)


@contextmanager
def private_socket(address: str) -> Iterator[None]:
    """Have the unix socket that is bound meanwhile born for this user alone, in the place of an earlier process's."""
    Path(address.removeprefix("unix:")).unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(mask)


@contextmanager
def _named(address: str) -> Iterator[None]:
    """Name the address that cannot be listened on. Raises CannotListenError."""
    try:
        yield
    except RuntimeError as error:
        raise CannotListenError(f"{address} is in use or not an address of this machine") from error


def _streaming(servicer: ReflectionServicer) -> Callable[[Any, Any], Any]:
    """Serve the package's synchronous reflection under asyncio: one answer for each request."""

    async def handle(requests: Any, context: Any) -> Any:
        async for request in requests:
            for response in servicer.ServerReflectionInfo(iter([request]), context):
                yield response

    return handle


def connect_to_mesh(settings: MeshSettings, interceptors: Sequence[aio.ClientInterceptor] = ()) -> aio.Channel:
    """Return the channel to the other services, with this service's identity where it has one.

    It retries nothing: Envoy does, and knows better where.
    """
    identity = client.MeshIdentity(*settings.mutual_tls) if settings.mutual_tls else None
    return client.connect(settings.mesh_target, identity=identity, retries=False, interceptors=interceptors)


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials:
    """Mutual TLS that picks up renewed certificates by itself."""
    if settings.mutual_tls is None:
        raise ValueError(
            "a TCP listen address requires a certificate, its private key and the mesh certificate authority"
        )
    certificate, key, authority = settings.mutual_tls
    files = CertificateFiles((authority, key, certificate), _server_configuration)
    return grpc.dynamic_ssl_server_credentials(files.load(), files.renewed, require_client_authentication=True)  # type: ignore[arg-type]  # None means unchanged, which the stubs do not know.


def _server_configuration(files: Sequence[Path]) -> grpc.ServerCertificateConfiguration:
    authority, key, certificate = read_pem(files)
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)


def main(service: str, kind: type[Settings], build: Callable[[Settings], Server]) -> None:
    """Run `python -m services.<service> [migrate | migrated]` with the settings of the environment.

    It serves until SIGTERM, migrates the database, or waits until it is migrated.
    """
    gc.enable()
    try:
        settings = load(kind)
    except SettingsError as error:
        sys.exit(f"{service} failed to start: {error}")
    logs.configure(service, settings.log_level)
    flush = telemetry.configure(service, settings)
    try:
        _run(service, settings, build)
    finally:
        flush()


def _run(service: str, settings: Settings, build: Callable[[Settings], Server]) -> None:
    if sys.argv[1:] == ["migrate"]:
        owner = getattr(settings, "migration_database_url", None)
        if owner is None:
            sys.exit(f"{service} failed to migrate: AZORA_MIGRATION_DATABASE_URL (with the owner role) is not set")
        from services.shared.migrations import migrate  # noqa: PLC0415 - Alembic is of no use to a server

        migrate(service, owner.get_secret_value())
    elif sys.argv[1:] == ["migrated"]:
        from services.shared.migrations import wait_until_migrated  # noqa: PLC0415 - see above

        asyncio.run(wait_until_migrated(service, settings.database_url.get_secret_value()))  # type: ignore[attr-defined]
    else:
        try:
            uvloop.run(_serve(build, settings))
        except CannotListenError as error:
            sys.exit(f"{service} failed to start: {error}")
        except EndedError as error:
            sys.exit(f"{service} failed: {error}")


async def _serve(build: Callable[[Settings], Server], settings: Settings) -> None:
    server = build(settings)
    # What stands as long as the process does is not searched for garbage: a full collection would stop all calls for
    # a tenth of a second.
    gc.freeze()
    await server.run()
