"""Authentication, authorisation, and acting for a user."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from interceptors.base import Interceptor
from services.shared.errors import (
    AccessDenied,
    DependencyUnavailable,
    InteractiveSignInRequired,
    ScopeInsufficient,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenRevoked,
    ValidationFailed,
)
from services.shared.policy import METRICS
from services.shared.principal import ANYONE, LAPSED, TRUST_DOMAIN, Principal, TokenVerifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from interceptors.base import Call, Proceed
    from services.shared.policy import MethodPolicy

ENVOY, GATEWAY = f"{TRUST_DOMAIN}/envoy".encode(), f"{TRUST_DOMAIN}/gateway".encode()
CHECKS = {f"/grpc.health.v1.Health/{method}" for method in ("Check", "List")}
RECHECK_SECONDS = 5.0
"""How long a watch may outlive its token."""
CLIENT_CERTIFICATE = "x-forwarded-client-cert"
"""Header of calls between services. Envoy removes it from what clients send, and nobody but Envoy gets through."""
CALLER = re.compile(rf"URI={re.escape(TRUST_DOMAIN)}/([a-z0-9-]+)(?:[;,]|$)")


class Authentication(Interceptor):
    """Finds the principal: the user of the access token, the service of the mesh certificate, or anyone.

    Only Envoy can call (its certificate, or a unix socket of this user's), so what it says of the client's
    address and of the caller's certificate is true; it strips both headers from what clients send. Health alone may be
    asked by every part of the mesh: a probe must learn of this process, not of the way to it; not watched, which would
    take the places of clients. Metrics are for the gateway to collect; Envoy routes nobody to them.

    On a public RPC a token that has expired or was revoked counts as none, or nobody whose client sends it along could
    sign in again or out. So does one that cannot be told from such a one, because Auth has not answered yet.
    """

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Set the principal.

        Raises TokenInvalid, TokenExpired; DependencyUnavailable where it is not known which tokens were revoked;
        AccessDenied for a peer that is not Envoy.
        """
        _refuse_other_peers(call)
        certificate = call.headers.get(CLIENT_CERTIFICATE)
        service = CALLER.search(certificate) if certificate else None
        if service:
            call.served.principal = (await self._user(call, through_service=True)).through(service=service.group(1))
        else:
            address = call.value("x-forwarded-for").rpartition(",")[2].strip()
            call.served.principal = (await self._user(call)).through(address=address)
        if call.policy.watch and "authorization" in call.headers:
            await self._while_valid(call, proceed)
        else:
            await proceed()

    async def _while_valid(self, call: Call, proceed: Proceed) -> None:
        """Serve a watch for as long as its token is valid: until it expires or is revoked."""
        try:
            async with asyncio.TaskGroup() as tasks:
                check = tasks.create_task(self._check_again(call))
                await proceed()
                check.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _check_again(self, call: Call) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            await self._verifier.verify(_bearer(call), fresh=call.policy.requires_fresh_sessions)

    async def _user(self, call: Call, *, through_service: bool = False) -> Principal:
        if "authorization" not in call.headers:
            return ANYONE
        policy = call.policy
        try:
            return await self._verifier.verify(
                _bearer(call), fresh=policy.requires_fresh_sessions and not through_service
            )
        except (TokenExpired, TokenRevoked):
            if not policy.public:
                raise
        except DependencyUnavailable:
            if not (policy.public or through_service):  # A service is known by its certificate.
                raise
        return LAPSED


class Authorization(Interceptor):
    """Lets the call through if any one alternative of its policy holds.

    An API key's access token may do what its owner may, within its scopes. On a public RPC beyond them it counts as
    none: anyone may call it. `denied` is told of users who may not call.
    """

    def __init__(self, denied: Callable[[Principal, str], None] | None = None) -> None:
        self._denied = denied

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Check the principal.

        Raises TokenMissing when signing in would help, AccessDenied when it would not; ScopeInsufficient and
        InteractiveSignInRequired for an API key's access token.
        """
        policy, principal = call.policy, call.served.principal
        allowed = (
            policy.public
            or (policy.signed_in and principal.signed_in)
            or not policy.permissions.isdisjoint(principal.permissions)
            or principal.service in policy.services
        )
        if not allowed:
            if self._denied is not None and principal.signed_in:
                self._denied(principal, policy.path)
            raise AccessDenied if principal.signed_in or policy.internal or principal.service else TokenMissing
        if principal.scopes is not None and principal.service not in policy.services:
            if policy.interactive:
                raise InteractiveSignInRequired
            if policy.scope not in principal.scopes:
                if not policy.public:
                    raise ScopeInsufficient(scope=policy.scope)
                call.served.principal = LAPSED.through(service=principal.service, address=principal.address)
        await proceed()


class ActingUser(Interceptor):
    """Lets a service name the user it acts for, in the field that the policy declares; nobody else may fill it."""

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether the policy declares such a field."""
        return bool(policy.acting_user_field)

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Set the principal's user. Raises ValidationFailed. Runs after validation: it reads the message."""
        field, principal = call.policy.acting_user_field, call.served.principal
        user_id, json_name = getattr(call.request, field), call.request.DESCRIPTOR.fields_by_name[field].json_name
        if principal.service in call.policy.services:
            if not user_id:
                raise ValidationFailed.field(json_name, "a service must name the user it acts for")
            call.served.principal = Principal(user_id=user_id, service=principal.service)
        elif user_id:
            raise ValidationFailed.field(json_name, "only services may name a user to act for")
        await proceed()


def _bearer(call: Call) -> str:
    headers = call.values("authorization")
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.casefold() != "bearer":
        raise TokenInvalid
    return token


def _refuse_other_peers(call: Call) -> None:
    identities = call.context.peer_identities()
    expected = GATEWAY if call.policy.path == METRICS else ENVOY
    if identities and expected not in identities and call.policy.path not in CHECKS:
        raise AccessDenied
