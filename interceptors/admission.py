"""Bounds how many calls a process serves at once, and refuses those of low priority first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptors.auth import CLIENT_CERTIFICATE
from interceptors.base import Interceptor
from services.shared.errors import Overloaded
from services.shared.policy import Priority

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed
    from services.shared.policy import MethodPolicy

RETRY_AFTER_SECONDS = 1.0
SHARES = {Priority.LOW: 0.2, Priority.NORMAL: 0.8, Priority.HIGH: 1.0}
"""Share of the places that may be taken for a call of this priority to be admitted; CRITICAL ones are, always.

LOW has fewer than the calls of LOW and NORMAL priority that Envoy gives a process together: some are left for NORMAL.
"""
TIER_SHARES = {"CREDENTIALS": 0.25}
"""Share of the places that calls of a tier may take. Passwords are checked one after another for each core, a third of
a second each: more that wait would answer nobody sooner, and would take the places of everything else."""


class Places:
    """The places of one kind of caller."""

    __slots__ = ("taken", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0

    def leave(self) -> None:
        """Give one back."""
        self.taken -= 1


class Admission(Interceptor):
    """Refuses calls at once when as many are being served as their priority allows.

    Calls of services have places of their own, which none of the others can take: a call that waits for another service
    would otherwise take the place that this service's call back needs, and both would wait until their deadlines. For
    the same reason a service's call gives its place up, for one of the others, before it waits for a service itself.

    gRPC's own limit refuses health checks too, so that a busy process is taken for a dead one and all of its calls
    fail; and its refusals have no ErrorInfo and are in no log. Health and metrics are outside of this one, and so are
    watches, which wait most of the time and have bounds of their own.
    """

    def __init__(self, max_concurrent_rpcs: int) -> None:
        self._clients = Places(max_concurrent_rpcs)
        self._services = Places(max_concurrent_rpcs)
        self._tiers = {name: Places(max(1, int(share * max_concurrent_rpcs))) for name, share in TIER_SHARES.items()}

    def applies(self, policy: MethodPolicy) -> bool:
        """Whether it is neither a watch, a check of health nor the metrics; a watch of health takes a place."""
        return not policy.watch and (policy.tier is not None or policy.server_streaming)

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Serve the call if there is room. Raises Overloaded."""
        policy = call.policy
        if CLIENT_CERTIFICATE in call.headers:
            await self._serve_service(call, proceed)
            return
        tier = self._tiers.get(policy.tier.name) if policy.tier is not None else None
        if tier is not None:
            _enter(tier, tier.total)
        try:
            _enter(self._clients, self._limit(policy))
            try:
                await proceed()
            finally:
                self._clients.leave()
        finally:
            if tier is not None:
                tier.leave()

    async def _serve_service(self, call: Call, proceed: Proceed) -> None:
        places = self._services

        def wait_elsewhere() -> None:
            nonlocal places
            if places is self._services:
                _enter(self._clients, self._limit(call.policy))
                places.leave()
                places = self._clients

        call.served.before_waiting = wait_elsewhere
        _enter(places, places.total)
        try:
            await proceed()
        finally:
            places.leave()

    def _limit(self, policy: MethodPolicy) -> float:
        share = SHARES.get(policy.priority)
        return float("inf") if share is None else share * self._clients.total


def _enter(places: Places, limit: float) -> None:
    if places.taken >= limit:
        raise Overloaded(retry_after_seconds=RETRY_AFTER_SECONDS)
    places.taken += 1
