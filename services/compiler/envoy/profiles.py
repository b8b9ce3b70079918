"""Deployment profiles: addresses, certificates and settings from which Envoy's bootstrap is compiled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.compiler.contract import ENVOY, GATEWAY, load_contract
from services.shared.descriptors import DESCRIPTORS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.compiler.envoy.settings import EnvoySettings

GATEWAY_HTTP = "gateway-http"
GATEWAY_REFLECTION = "gateway-reflection"
"""The gateway as the cluster of reflection, whose streams take nothing from health."""
GATEWAY_CONSOLE = "gateway-console"
"""The gateway's first replica: traces are sent to it alone, and samples are those of one process."""

MAX_SOCKET_PATH_BYTES = 107


class ProfileError(Exception):
    """A profile that Envoy could not run with; the text says why."""


@dataclass(frozen=True, slots=True)
class Pipe:
    """A unix socket. What listens there is open to this user alone, so it speaks plain text."""

    path: str

    def __post_init__(self) -> None:
        """Refuse what the kernel would."""
        if len(self.path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise ProfileError(
                f"the socket path {self.path} is over {MAX_SOCKET_PATH_BYTES} bytes: use a shorter folder"
            )


@dataclass(frozen=True, slots=True)
class Tcp:
    """A host and port. Within the mesh, what listens there speaks mutual TLS."""

    host: str
    port: int


Address = Pipe | Tcp


def found_by_dns(replicas: Sequence[Address]) -> bool:
    """Whether replicas are found by name: then DNS knows how many there are, and no file does."""
    return any(not isinstance(replica, Pipe) and not _is_ip(replica.host) for replica in replicas)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its private key, as paths of PEM files that Envoy reads, and reads again when they change."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One deployment: what Envoy listens on, who stands behind it, and what differs between environments."""

    public: Tcp
    """The one public port."""
    mesh: Address
    """The internal listener, for calls between services."""
    runtime: str
    """A folder for Envoy's own sockets."""
    upstreams: Mapping[str, tuple[Address, ...]]
    """All replicas of each service, by the name that its proto packages have, and of the gateway's own process."""
    discovery: str
    """The folder of the files that a running Envoy reads again: replicas and secrets (`discovery_files`)."""
    certificate: Certificate
    """Envoy's identity on the mesh."""
    authority: str
    """The mesh's certificate authority (path of a PEM file)."""
    public_certificate: Certificate | None = None
    """Makes the public port TLS."""
    plain_health: bool = False
    """Whether a public port with TLS answers GET /health in plain text, too, to its own machine alone."""
    replicas: int = 1
    """Maximum number of replicas that a host name stands for."""
    descriptors: str = str(DESCRIPTORS)
    """Path of the descriptor set, where Envoy finds it."""
    reflection: bool = False
    """Whether gRPC reflection, the API explorer and the console are served: for development."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may call from a browser, exactly as browsers send them: "https://app.example.com"."""
    cors_localhost: bool = False
    """Whether any origin on this machine may call from a browser: for development."""
    trusted_proxies: int = 0
    """How many proxies of our own stand before Envoy; their X-Forwarded-For is believed, and nobody else's."""
    rate_limit_scale: float = 1.0
    rate_limits: str = ""
    """Limits that replace the contract's, as `effective_tiers` has them."""
    issuer: str = "http://localhost:8080"
    """The `iss` of access tokens: AZORA_PUBLIC_URL."""
    audience: str = "azora"
    """The `aud` of access tokens."""
    admin_port: int = 0
    """Port of the admin interface on the loopback interface, of a pod's own; without one it is a private socket."""
    jwks_cache_seconds: int = 60
    """Maximum age of cached public signing keys. A key is published for longer before it signs."""
    log: bool = True
    """Whether Envoy writes an access log, as JSON lines on standard output."""
    max_heap_bytes: int = 256 * 1024 * 1024
    """Memory with which Envoy refuses requests, and before that ends large ones; less than its container may have."""
    otlp: Address | None = None
    """The OpenTelemetry collector (OTLP over gRPC, plain text) that Envoy's spans go to; unset exports none."""
    trace_sample_ratio: float = 1.0
    """Share of traces begun at the edge that are sampled, where an OTLP endpoint is set."""

    def is_replicated(self, service: str) -> bool:
        """Whether a service has two replicas or more, so that another can be asked when one is slow."""
        return self.replicas_of(service) > 1

    def replicas_of(self, service: str) -> int:
        """Return the maximum number of replicas of a service."""
        known = self.upstreams.get(service, ())
        return len(known) * (self.replicas if found_by_dns(known) else 1)

    @property
    def admin(self) -> Pipe:
        """Envoy's admin interface, unless it has a port."""
        return Pipe(f"{self.runtime}/admin.sock")

    @property
    def admin_address(self) -> Address:
        """Where Envoy's admin interface listens."""
        return Tcp("127.0.0.1", self.admin_port) if self.admin_port else self.admin

    @property
    def jwks(self) -> Pipe:
        """Where Envoy gets the public keys from itself."""
        return Pipe(f"{self.runtime}/jwks.sock")


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What differs between two systems of `azora up` on one machine."""

    runtime: Path
    """A short folder for all sockets."""
    pki: Path
    """The folder of <name>.crt, <name>.key and ca.crt."""
    port: int = 8080
    replicas: Mapping[str, int] = field(default_factory=dict)
    """How many processes a service has; one unless named here."""
    public_certificate: Certificate | None = None
    reflection: bool = True
    cors_origins: tuple[str, ...] = ()
    cors_localhost: bool = True
    trusted_proxies: int = 0
    rate_limit_scale: float = 1.0
    rate_limits: str = ""
    public_url: str = ""
    """`http://localhost:PORT` unless set."""
    jwks_cache_seconds: int = 60
    otlp: Address | None = None
    trace_sample_ratio: float = 1.0


def collector(endpoint: str) -> Address | None:
    """Return the address of an OTLP endpoint, `http://collector:4317` or `unix:/...`; None for an empty one."""
    if endpoint.startswith("unix:"):
        return Pipe(endpoint.removeprefix("unix:"))
    url = urlsplit(endpoint)
    return Tcp(url.hostname, url.port) if url.hostname and url.port else None


def socket_path(runtime: Path, service: str, replica: int = 0) -> Path:
    """Return where a replica of a service listens locally: payment.sock, then payment-1.sock, payment-2.sock, ..."""
    return runtime / (f"{service}-{replica}.sock" if replica else f"{service}.sock")


def local(settings: LocalSettings) -> Profile:
    """Return the profile of the one-command system: unix sockets, and a public port on the loopback interface."""

    def pipes(name: str) -> tuple[Pipe, ...]:
        return tuple(
            Pipe(str(socket_path(settings.runtime, name, replica))) for replica in range(settings.replicas.get(name, 1))
        )

    return Profile(
        public=Tcp("127.0.0.1", settings.port),
        mesh=Pipe(str(settings.runtime / "mesh.sock")),
        runtime=str(settings.runtime),
        upstreams={name: pipes(name) for name in (*load_contract().owners, GATEWAY, GATEWAY_HTTP)},
        discovery=f"{settings.runtime}/discovery",
        certificate=Certificate(f"{settings.pki}/{ENVOY}.crt", f"{settings.pki}/{ENVOY}.key"),
        authority=f"{settings.pki}/ca.crt",
        public_certificate=settings.public_certificate,
        reflection=settings.reflection,
        cors_origins=settings.cors_origins,
        cors_localhost=settings.cors_localhost,
        trusted_proxies=settings.trusted_proxies,
        rate_limit_scale=settings.rate_limit_scale,
        rate_limits=settings.rate_limits,
        issuer=settings.public_url or f"http://localhost:{settings.port}",
        jwks_cache_seconds=settings.jwks_cache_seconds,
        otlp=settings.otlp,
        trace_sample_ratio=settings.trace_sample_ratio,
    )


IDENTITY = "/run/pki"
"""Where a container has its certificate, its key and the authority of the mesh."""
MOUNTED_PUBLIC_CERTIFICATE = Certificate("/run/public/tls.crt", "/run/public/tls.key")
CONFIGURATION = "/etc/envoy"
"""Where Envoy's container has its configuration."""
PUBLIC_PORT, MESH_PORT, GRPC_PORT, PAGES_PORT = 8080, 9443, 50051, 8081
"""Ports of containers: Envoy's two listeners, every gRPC server, the gateway's HTTP app."""
ADMIN_PORT = 9901
"""Port of Envoy's admin interface within its pod."""


def compose(settings: EnvoySettings | None = None) -> Profile:
    """Return the profile of docker-compose.yml: mutual TLS between containers, which find each other by name.

    Without settings it is the committed one, of the defaults: the gateway itself refuses reflection in production.
    """
    return _containers(settings)


def kubernetes(settings: EnvoySettings) -> Profile:
    """Return the profile of deploy/kubernetes: that of compose, and an admin interface that a pod's hook can reach."""
    return replace(_containers(settings), plain_health=False, admin_port=ADMIN_PORT)


def _containers(settings: EnvoySettings | None) -> Profile:
    services: dict[str, tuple[Address, ...]] = {
        name: (Tcp(name, GRPC_PORT),) for name in (*load_contract().owners, GATEWAY)
    }
    return Profile(
        public=Tcp("0.0.0.0", PUBLIC_PORT),  # noqa: S104 - a container's port; its network decides who reaches it
        mesh=Tcp("0.0.0.0", MESH_PORT),  # noqa: S104
        runtime="/tmp",  # noqa: S108 - the container's own, and the one folder that its user may write
        upstreams=services | {GATEWAY_HTTP: (Tcp(GATEWAY, PAGES_PORT),)},
        discovery=f"{CONFIGURATION}/discovery",
        certificate=Certificate(f"{IDENTITY}/tls.crt", f"{IDENTITY}/tls.key"),
        authority=f"{IDENTITY}/ca.crt",
        plain_health=True,
        descriptors=f"{CONFIGURATION}/descriptors.binpb",
        reflection=True if settings is None else settings.development,
        **({} if settings is None else _chosen(settings)),
    )


def _chosen(settings: EnvoySettings) -> dict[str, Any]:
    """Return the fields of a container's profile that are settings."""
    tls = settings.public_certificate_dir is not None
    return {
        "public_certificate": MOUNTED_PUBLIC_CERTIFICATE if tls else None,
        "replicas": settings.replicas,
        "trusted_proxies": settings.trusted_proxies,
        "cors_origins": settings.origins,
        "rate_limits": settings.rate_limits,
        "issuer": settings.public_url,
        "audience": settings.audience,
        "jwks_cache_seconds": settings.jwks_cache_seconds,
        "cors_localhost": settings.development,
        "otlp": collector(settings.otlp_endpoint),
        "trace_sample_ratio": settings.trace_sample_ratio,
    }
