"""HTTP requests to URLs that users choose: to public addresses over HTTPS, without redirects, bounded in time and size.

The guard against server-side request forgery: a host is resolved once, every address that it resolves to is checked,
and the connection is made to a checked address. Nothing is read from the environment (proxies), nothing is followed,
and of a response its head alone is read.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import httpcore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    Address: TypeAlias = IPv4Address | IPv6Address
    Network: TypeAlias = IPv4Network | IPv6Network
    Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
    """Returns the addresses of a host. Raises OSError."""

LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|{LABEL}(?:\.{LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<target>/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*)?"
)
"""An absolute URL in ASCII (RFC 3986) without user information and fragment."""
MAX_HOST_CHARACTERS = 253
MAX_PORT = 65_535
DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_CONNECTED = 4
"""Addresses of a host that are tried."""
LOOKUPS = 128
"""Concurrent look-ups, in threads of their own: a name server that hangs holds up nothing else. The system's resolver
gives up later than the requests that wait for it."""
MAX_RESPONSE_BYTES = 8 * 1024
"""Maximum number of bytes that are read of a response: interim responses (1xx) have no end of their own, and parsing
them takes the time of all other calls."""
MAX_READ_BYTES = 1024
"""Maximum number of bytes that are parsed before other tasks have their turn."""
MAX_RETRY_AFTER_DIGITS = 6

SPECIAL_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
"""IANA's registry of special-purpose addresses, and multicast. Python's own list differs from version to version."""
GLOBAL_UNICAST = IPv6Network("2000::/3")
SPECIAL_IPV6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""The same within the global unicast addresses: Teredo, documentation, 6to4."""
NAT64 = IPv6Network("64:ff9b::/96")
"""IPv6 addresses of IPv4 hosts (RFC 6052), as DNS64 answers with them."""
IPV4_BITS = 0xFFFF_FFFF


class RequestFailed(Exception):
    """No response to a request; `reason` says why, in UPPER_SNAKE_CASE."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Url:
    """A URL that requests may be made to, in parts. Only what `parse` accepts is ever connected to."""

    scheme: str
    host: str
    """Host name in lower case, or an address without brackets."""
    port: int
    target: str
    """Path and query."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the parts of a URL, or None: a host that ends in a number must be a dotted-quad address."""
        found = URL.fullmatch(text)
        if found is None:
            return None
        scheme, host = found["scheme"], found["host"].strip("[]").lower()
        port = int(found["port"] or DEFAULT_PORTS[scheme])
        last = host.rpartition(".")[2]
        try:
            if found["host"].startswith("["):
                host = str(IPv6Address(host))
            elif last.isdigit() or last.startswith("0x"):
                host = str(IPv4Address(host))
        except ValueError:
            return None
        if len(host) > MAX_HOST_CHARACTERS or not 0 < port <= MAX_PORT:
            return None
        return cls(scheme, host, port, found["target"] or "/")

    @property
    def address(self) -> Address | None:
        """The host, if it is an address."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a response."""

    status: int
    retry_after_seconds: int
    """Value of the header Retry-After in seconds; 0 without one, or with a date."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which addresses may be connected to: public ones over https, and those of `networks` over http as well."""

    networks: Sequence[Network] = ()

    def allows_url(self, url: Url) -> bool:
        """Whether a request may be tried. A host name is judged by its addresses, when it is resolved."""
        address = url.address
        if address is None:
            return url.scheme == "https" or bool(self.networks)
        return self.allows(address, scheme=url.scheme)

    def allows(self, address: Address, *, scheme: str) -> bool:
        """Whether this address may be connected to."""
        inner = _ipv4(address) or address
        return any(inner in network for network in self.networks if network.version == inner.version) or (
            scheme == "https" and is_public(inner)
        )


def is_public(address: Address) -> bool:
    """Whether this is an ordinary address of the internet: not private, loopback, link-local, reserved or multicast.

    An IPv6 address that stands for an IPv4 one (mapped, NAT64) is judged as that.
    """
    address = _ipv4(address) or address
    if isinstance(address, IPv4Address):
        return not any(address in network for network in SPECIAL_IPV4)
    return address in GLOBAL_UNICAST and not any(address in network for network in SPECIAL_IPV6)


def _ipv4(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    return address.ipv4_mapped or (IPv4Address(int(address) & IPV4_BITS) if address in NAT64 else None)


class OutboundHttp:
    """Makes requests within an address policy, each on a connection of its own."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        timeout_seconds: float,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Bound each request, look-up and response head included, by `timeout_seconds`.

        `resolve` replaces the system's resolver, `tls` the usual certificate authorities.
        """
        self._policy = policy
        self._timeout_seconds = timeout_seconds
        self._resolve = resolve or self._look_up
        self._given_tls = tls
        self._lookups: dict[str, asyncio.Future[Sequence[str]]] = {}

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpcore.default_ssl_context()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(LOOKUPS, thread_name_prefix="look-up")

    async def post(self, url: Url, *, headers: Mapping[str, str], content: bytes) -> Response:
        """Send a POST request and return the head of its response; the rest is not read.

        Raises RequestFailed: URL_NOT_ALLOWED, HOST_NOT_PUBLIC, CONNECTION_FAILED, TLS_FAILED, TIMED_OUT,
        RESPONSE_INVALID.
        """
        if not self._policy.allows_url(url):
            raise RequestFailed("HOST_NOT_PUBLIC" if url.address else "URL_NOT_ALLOWED")
        backend = _CheckedAddresses(self, url)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._post(url, headers, content, backend)
        except (TimeoutError, httpcore.TimeoutException):
            raise RequestFailed("TIMED_OUT") from None
        except httpcore.ConnectError:
            raise RequestFailed("TLS_FAILED" if backend.stream else "CONNECTION_FAILED") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, ssl.SSLError):
            raise RequestFailed("RESPONSE_INVALID") from None
        finally:
            await backend.close()

    async def _post(
        self, url: Url, headers: Mapping[str, str], content: bytes, backend: httpcore.AsyncNetworkBackend
    ) -> Response:
        target = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._tls if url.scheme == "https" else None,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=backend,
        )
        sent = [("Host", url.authority), *headers.items()]
        async with pool, pool.stream("POST", target, headers=sent, content=content) as response:
            return Response(response.status, _retry_after_seconds(response.headers))

    async def addresses(self, url: Url) -> Sequence[Address]:
        """Return the addresses of a URL's host. Raises RequestFailed unless every one of them is allowed.

        A name that does not resolve is told like one with a private address: what names there are inside is nobody's
        business.
        """
        literal = url.address
        try:
            found = [literal] if literal else [ip_address(each) for each in await self._resolve(url.host, url.port)]
        except (OSError, ValueError):  # Not found; not a name; an address with a scope, and so link-local.
            found = []
        if not found or not all(self._policy.allows(address, scheme=url.scheme) for address in found):
            raise RequestFailed("HOST_NOT_PUBLIC")
        return found

    async def _look_up(self, host: str, _: int) -> Sequence[str]:
        """Ask the system's resolver; requests to a host that is being looked up wait for the same answer."""

        def look_up() -> Sequence[str]:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            return [str(sockaddr[0]) for *_, sockaddr in found]

        def done(found: asyncio.Future[Sequence[str]]) -> None:
            del self._lookups[host]
            if not found.cancelled():
                found.exception()  # Whoever waited for it may have given up.

        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = asyncio.get_running_loop().run_in_executor(self._threads, look_up)
            self._lookups[host] = lookup
            lookup.add_done_callback(done)
        return await asyncio.shield(lookup)

    async def close(self) -> None:
        """End the threads of look-ups, without waiting for those that hang."""
        if "_threads" in vars(self):
            self._threads.shutdown(wait=False, cancel_futures=True)


class _CheckedAddresses(httpcore.AsyncNetworkBackend):
    """Connects to the checked addresses of one URL. Its host goes to TLS and to nothing else."""

    def __init__(self, client: OutboundHttp, url: Url) -> None:
        self._client = client
        self._url = url
        self._inner = httpcore.AnyIOBackend()
        self.stream: httpcore.AsyncNetworkStream | None = None
        """The connection, once there is one."""

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the URL's, which is resolved here and nowhere else
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's; the whole request has one
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = httpcore.ConnectError()
        for address in (await self._client.addresses(self._url))[:MAX_CONNECTED]:
            try:
                stream = await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failure = error
            else:
                self.stream = stream
                return _BoundedStream(stream)
        raise failure

    async def close(self) -> None:
        """Close the connection, which the library leaves open when it is cancelled during the TLS handshake."""
        if self.stream is not None:
            await self.stream.aclose()


class _BoundedStream(httpcore.AsyncNetworkStream):
    """A connection from which at most MAX_RESPONSE_BYTES are read."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._left_bytes = MAX_RESPONSE_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - the interface's
        if not self._left_bytes:
            raise httpcore.ReadError
        await asyncio.sleep(0)  # What was received already is read without a pause.
        data = await self._inner.read(min(max_bytes, MAX_READ_BYTES, self._left_bytes), timeout)
        self._left_bytes -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - the interface's
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
    ) -> httpcore.AsyncNetworkStream:
        return _BoundedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _retry_after_seconds(headers: Sequence[tuple[bytes, bytes]]) -> int:
    value = next((value for name, value in headers if name.lower() == b"retry-after"), b"")
    return int(value) if value.isdigit() and len(value) <= MAX_RETRY_AFTER_DIGITS else 0
