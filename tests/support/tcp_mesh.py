"""The mesh over TCP, as containers have it: the real Envoy and the real servers of services, all of them on mutual TLS.

What the services do is a stand-in: they answer every call that their interceptors let through with an empty message.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from azora import client
from prometheus_client import CollectorRegistry

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.compiler.contract import GATEWAY
from services.compiler.envoy import LocalSettings, Profile, Tcp, local
from services.compiler.envoy.profiles import GATEWAY_HTTP
from services.deployment.pki import ensure_pki
from services.shared.server import Registration, Server
from services.shared.settings import Environment, ServerSettings
from tests.support.edge import CONTRACT, UNLIMITED, Replica, running_envoy, takes_tokens
from tests.support.ports import free_port
from tests.support.serving import ISSUER, Signer, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from grpc import aio

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class TcpMesh:
    """A running Envoy, and the services behind it."""

    profile: Profile
    folder: Path
    signer: Signer
    replicas: Mapping[str, Replica]
    registries: dict[str, CollectorRegistry] = field(default_factory=dict)
    """The metrics of each service's rate limits."""

    @property
    def pki(self) -> Path:
        """The folder of certificates and keys."""
        return self.folder / "pki"

    @property
    def edge(self) -> str:
        """The public port."""
        return f"{LOOPBACK}:{self.profile.public.port}"

    @property
    def mesh(self) -> str:
        """The internal listener."""
        return target(self.profile.mesh)

    def service(self, name: str) -> str:
        """Return where a service itself listens."""
        return target(self.profile.upstreams[name][0])

    async def awake(self) -> bool:
        """Whether Envoy calls every service: it does not after their event loop has stood still, as between tests."""
        if not await takes_tokens(f"http://{self.edge}", self.signer):
            return False
        for replica in self.replicas.values():
            replica.received.clear()
        return True

    def channel(self, at: str, caller: str, *, server: str = "envoy", pki: Path | None = None) -> aio.Channel:
        """Return a channel with the certificate of a caller."""
        folder = pki or self.pki
        identity = client.MeshIdentity(folder / f"{caller}.crt", folder / f"{caller}.key", self.pki / "ca.crt")
        return client.connect(at, identity=identity, server_name=server, retries=False)


def target(address: Any) -> str:
    """Return the gRPC address of a TCP address."""
    return f"{address.host}:{address.port}"


@asynccontextmanager
async def running_tcp_mesh() -> AsyncIterator[TcpMesh]:
    """Run it."""
    names = (*CONTRACT.owners, GATEWAY, GATEWAY_HTTP)
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(short_folder())
        ensure_pki(folder / "pki")
        settings = LocalSettings(folder, folder / "pki", free_port(), rate_limit_scale=UNLIMITED, public_url=ISSUER)
        unscaled = local(settings)
        upstreams = {name: (Tcp(LOOPBACK, free_port()),) for name in names}
        profile = replace(unscaled, mesh=Tcp(LOOPBACK, free_port()), upstreams=upstreams)
        signer = Signer()
        replicas = {name: Replica(signer, guarded=True) for name in (*CONTRACT.owners, GATEWAY)}
        mesh = TcpMesh(profile, folder, signer, replicas)
        for name, replica in replicas.items():
            await stack.enter_async_context(serving(mesh, name, replica, upstreams[name][0], mesh.pki / name))
        await stack.enter_async_context(running_envoy(profile, folder))
        await eventually(mesh.awake)
        yield mesh


@asynccontextmanager
async def serving(mesh: TcpMesh, name: str, replica: Replica, at: Tcp, certificate: Path) -> AsyncIterator[None]:
    """Run a replica of a service, which shows the certificate in these files (.crt and .key)."""
    mesh.registries[name] = CollectorRegistry()
    limiter = Limiter(scale=UNLIMITED, registry=mesh.registries[name])
    settings = ServerSettings(
        env=Environment.DEVELOPMENT,
        listen=target(at),
        tls_certificate=certificate.with_suffix(".crt"),
        tls_key=certificate.with_suffix(".key"),
        tls_authority=mesh.pki / "ca.crt",
        drain_seconds=0,
        grace_seconds=0,
    )
    owned = [service for service in CONTRACT.declared if CONTRACT.owner(service) == name]
    server = Server(
        settings=settings,
        interceptor=partial(chain, verifier=mesh.signer.verifier(), limiter=limiter),
        services=[Registration(service, replica, _add) for service in owned],
        ready=_always,
    )
    await server.start()
    try:
        yield
    finally:
        await server.stop()


def _add(replica: Any, server: aio.Server) -> None:
    server.add_generic_rpc_handlers((replica,))


async def _always() -> bool:
    return True
