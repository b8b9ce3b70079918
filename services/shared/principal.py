"""The caller and other properties of the call that is being served."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, NamedTuple, Protocol

from services.shared.opaque_tokens import token_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.shared.errors import DomainError

IPV6_PREFIX_BITS = 64
TRUST_DOMAIN = "spiffe://azora.local/ns/default/sa"
"""Prefix of all SPIFFE IDs of the mesh, before a slash and the name."""


class Principal(NamedTuple):
    """The caller: a signed-in user, a service of the mesh, or anonymous.

    A service may act for a user; then `service` and `user_id` are both set. A tuple, because every call makes one, and
    a frozen dataclass takes five times as long.
    """

    user_id: str = ""
    """UUID of the signed-in user, or of the one a service acts for; empty for neither."""
    session_id: str = ""
    role: str = ""
    """Name of the role, as in azora.policy.v1.Role; empty for services and the anonymous."""
    permissions: frozenset[str] = frozenset()
    """Names of the permissions, as in azora.policy.v1.Permission."""
    service: str = ""
    """Name of the calling service, proven by its certificate; empty for calls through the edge."""
    address: str = ""
    """Network address of the client as the edge saw it; empty within the mesh."""
    email_verified: bool = False
    """Whether the access token states that the user's e-mail address is verified."""
    lapsed: bool = False
    """Whether an access token was sent and is ignored: see LAPSED."""
    scopes: frozenset[str] | None = None
    """Scopes of an API key's access token, whose `session_id` is the key's; None for a session's, unlimited one."""

    @property
    def network(self) -> str:
        """The client as rate limits count it: an IPv4 address, or the /64 that an IPv6 subscriber has at least."""
        if ":" not in self.address:
            return self.address
        try:
            address = IPv6Address(self.address.partition("%")[0])
        except ValueError:
            return self.address
        return str(address.ipv4_mapped or IPv6Network((address, IPV6_PREFIX_BITS), strict=False))

    @property
    def id(self) -> str:
        """A stable name of the caller, for scoping keys and tokens: never an e-mail address."""
        if self.service:
            return f"service:{self.service}/user:{self.user_id}" if self.user_id else f"service:{self.service}"
        return f"user:{self.user_id}" if self.user_id else f"address:{self.address}"

    @property
    def signed_in(self) -> bool:
        """Whether a user stands behind the call."""
        return bool(self.user_id)

    def through(self, *, service: str = "", address: str = "") -> Principal:
        """Return this caller as it reached us: through the calling service, or from an address."""
        return Principal(  # _replace takes twice as long.
            self.user_id,
            self.session_id,
            self.role,
            self.permissions,
            service,
            address,
            self.email_verified,
            self.lapsed,
            self.scopes,
        )

    def may(self, permission: str) -> bool:
        """Whether the caller's role holds the permission, named as in azora.policy.v1.Permission."""
        return permission in self.permissions


ANYONE = Principal()
"""An anonymous caller."""
LAPSED = Principal(lapsed=True)
"""A caller whose token is ignored: it has expired, was revoked, cannot be checked for revocation yet, or is of too
narrow a scope."""


class TokenVerifier(Protocol):
    """Tells whose an access token is."""

    async def verify(self, token: str, *, fresh: bool = False) -> Principal:
        """Return the token's user; `fresh`: only if revocations are known as of a moment ago.

        Raises TokenInvalid, TokenRevoked, TokenExpired; DependencyUnavailable where keys or revocations are not known.
        """
        ...


@dataclass(slots=True)
class Request:
    """What is known of the call being served, beside its message."""

    id: str = ""
    """The request ID that Envoy assigned: the same over Envoy's own retries."""
    traceparent: str = ""
    """W3C Trace Context, to be sent along with calls to other services."""
    tracestate: str = ""
    """What other tracing systems sent along with it."""
    user_agent: str = ""
    """The header User-Agent: what the client says of itself."""
    idempotency_key: str = ""
    """The header Idempotency-Key, or empty."""
    principal: Principal = ANYONE
    account: str = ""
    """Whose share of the database's connections bounds the call, if not that of the principal: see `count_for`."""
    deadline: float | None = None
    """When the call must have ended, on the event loop's clock, in seconds."""
    dependency_failed: bool = False
    """Whether what this call depends on failed so that another attempt would, too: a call to another service after the
    mesh's own retries, or a database that does not answer."""
    late: DomainError | None = None
    """What the call is answered after its deadline, where it is known what it waited for until then."""
    initial_metadata: dict[str, str] = field(default_factory=dict)
    """Headers of the answer: sent before its first message, or with the status of a refusal."""
    before_waiting: Callable[[], None] | None = None
    """Called before the call waits for another service. It may raise Overloaded."""

    @property
    def trace_id(self) -> str:
        """The trace id, 32 hexadecimal digits."""
        return self.traceparent[3:35]  # version-traceid-parentid-flags (W3C Trace Context)

    def remaining_seconds(self, max_seconds: float) -> float:
        """How long a call made on behalf of this one may take: at most `max_seconds`."""
        if self.deadline is None:
            return max_seconds
        return max(0.0, min(max_seconds, self.deadline - asyncio.get_running_loop().time()))


_current: ContextVar[Request] = ContextVar("azora_request")
_job: ContextVar[str] = ContextVar("azora_job", default="")


def serve_request(request: Request) -> None:
    """Make `request` the current one for the rest of this task."""
    _current.set(request)


def current_request() -> Request | None:
    """Return the call being served, or None in a background job."""
    return _current.get(None)


def count_for(*, user_id: str = "", token: str = "") -> None:
    """Bound what the current call does at the database from now on by the share of this account, whoever calls.

    For calls before sign-in, which wait for an account's locks as those of its user do. Where the user is not known,
    `token` stands for the account. A caller has proven either: nobody takes the share of someone else.
    """
    request = current_request()
    if request is not None and (user_id or token):
        request.account = user_id or token_digest(token).hex()


def count_job(name: str) -> None:
    """Bound what the rest of this task does at the database by the share of the jobs of this name."""
    _job.set(name)


def current_account() -> str:
    """Return whose share of the database's connections bounds the current work; empty if nobody's does."""
    request = current_request()
    return _job.get() if request is None else request.account or request.principal.user_id


def note_failed_dependency() -> None:
    """Note that another attempt at the current call would fail like this one."""
    if (request := current_request()) is not None:
        request.dependency_failed = True


def note_late(error: DomainError) -> None:
    """Have the current call, whose deadline passes now, answered with this error."""
    if (request := current_request()) is not None:
        request.late = error
        request.dependency_failed = True  # There is no time for another attempt.


def current_principal() -> Principal:
    """Return who is calling. Raises LookupError outside a call."""
    return _current.get().principal
