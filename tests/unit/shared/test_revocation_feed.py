"""Polling what Auth revokes: nothing is missed, whatever fails; how old the state is, is known."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc import aio
from prometheus_client import CollectorRegistry, Counter

import services.shared.revocation_feed as feeds
from services.shared import assembly
from services.shared.errors import DependencyUnavailable, TokenInvalid
from services.shared.ids import new_id
from services.shared.principal import Principal
from services.shared.revocation_feed import RemoteRevocations, RevocationFeed
from services.shared.revocations import Revoked, RevokedPage
from services.shared.tokens import AccessTokens, Revocations, RevokedEpochs, VerifiedToken
from tests.support.serving import AUDIENCE, ISSUER, Signer, channel_to, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.shared.revocations import RevocationSource

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Auth:
    """Lists what a test says, in pages of one; can be away, or hang."""

    pages: list[list[Revoked]] = field(default_factory=lambda: [[]])
    away: bool = False
    hangs: bool = False
    fails_after: int | None = None
    asked: list[tuple[datetime | None, str]] = field(default_factory=list)

    async def list_revocations(self, *, since: datetime | None, page_token: str) -> RevokedPage:
        """Return a page; each has a later time."""
        self.asked.append((since, page_token))
        if self.hangs:
            await asyncio.Event().wait()
        number = int(page_token or 0)
        if self.away or number == self.fails_after:
            raise DependencyUnavailable
        following = str(number + 1) if number + 1 < len(self.pages) else ""
        return RevokedPage(self.pages[number], following, BEGUN + timedelta(seconds=len(self.asked)))


@asynccontextmanager
async def polling(auth: RevocationSource) -> AsyncIterator[tuple[RevocationFeed, Revocations]]:
    """Run a feed."""
    revocations = Revocations(3600)
    feed = RevocationFeed(auth, revocations)
    task = asyncio.create_task(feed.run())
    try:
        yield feed, revocations
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def token(session_id: str = "s", user_id: str = "u", epoch: int = 0, key_id: str = "k") -> VerifiedToken:
    return VerifiedToken(Principal(user_id=user_id, session_id=session_id), epoch, key_id, 0.0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "POLL_SECONDS", 0.01)


async def test_every_page_is_applied_and_the_next_poll_goes_on_from_the_first_pages_time() -> None:
    auth = Auth([[Revoked(session_id="s")], [Revoked(user_id="u", before_epoch=2)], [Revoked(key_id="k")]])
    async with polling(auth) as (feed, revocations):
        await eventually(lambda: _asked(auth, 4))
        assert feed.answered
        assert feed.age_seconds < 5
    assert auth.asked[:4] == [(None, ""), (None, "1"), (None, "2"), (BEGUN + timedelta(seconds=1), "")]
    assert revocations.covers(token(session_id="s", epoch=9))
    assert revocations.covers(token("other", epoch=1))
    assert revocations.covers(token("other", "other", key_id="k"))
    assert not revocations.covers(token("other", epoch=2, key_id="other"))


async def test_a_poll_that_fails_halfway_is_begun_again() -> None:
    auth = Auth([[Revoked(session_id="s")], [Revoked(session_id="t")]], fails_after=1)
    async with polling(auth) as (feed, revocations):
        await eventually(lambda: _asked(auth, 4))
        assert not feed.answered, "what is known in part is not known"
        assert revocations.covers(token("s")), "but it counts"
        auth.fails_after = None
        await eventually(lambda: _answered(feed))
        assert revocations.covers(token("t"))
    assert all(since is None for since, _ in auth.asked[:4])


async def test_while_auth_is_silent_the_last_state_holds_and_grows_old() -> None:
    auth = Auth([[Revoked(session_id="s")]])
    async with polling(auth) as (feed, revocations):
        await eventually(lambda: _answered(feed))
        auth.away = True
        await eventually(lambda: _older(feed, 0.2))
        assert revocations.covers(token("s"))
        auth.away = False
        await eventually(lambda: _fresher(feed, 0.15))
    answered = [since for since, _ in auth.asked if since is not None]
    assert answered == sorted(answered)


async def test_who_needs_a_first_answer_waits_for_the_one_on_its_way_and_no_longer() -> None:
    auth = Auth(hangs=True)
    feed = RevocationFeed(auth, Revocations(3600))
    waiting = [asyncio.create_task(feed.first()) for _ in range(20)]
    await eventually(lambda: _asked(auth, 1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await feed.first()
    assert len(auth.asked) == 1, "one poll at a time, however many wait or give up"
    assert feed._polling is not None
    feed._polling.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    auth.hangs, auth.away = False, True
    await feed.first()
    await feed.first()
    assert len(auth.asked) == 2, "a failure just now is not repeated by who comes after it"


async def test_a_service_is_ready_although_auth_hangs_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness asks no other service: it waits once for what was revoked, and not for long."""
    monkeypatch.setattr(feeds, "ANSWER_SECONDS", 0.5)

    asked = 0

    async def hangs(_request: bytes, _context: object) -> bytes:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return b""

    async def works() -> bool:
        return True

    async def asked_again() -> bool:
        return asked > 1

    auth = aio.server()
    _, service, method = feeds.LIST_REVOCATIONS.split("/")
    handlers: Any = {method: grpc.unary_unary_rpc_method_handler(hangs)}
    auth.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    async with short_folder() as folder:
        auth.add_insecure_port(f"unix:{folder}/s")
        await auth.start()
        async with channel_to(f"unix:{folder}/s") as channel, polling(RemoteRevocations(channel)) as (feed, _):
            async with asyncio.timeout(2):
                assert await assembly._ready(works, feed)
            await eventually(asked_again)
            async with asyncio.timeout(0.25):
                assert await assembly._ready(works, feed)
            assert not feed.answered
        await auth.stop(None)


async def test_tokens_wait_for_the_first_answer_and_are_refused_without_one() -> None:
    signer, auth = Signer(), Auth(away=True)
    feed = RevocationFeed(auth, revocations := Revocations(3600))
    verifier = AccessTokens(
        signer, issuer=ISSUER, audience=AUDIENCE, permissions={}, revocations=revocations, freshness=feed
    )
    with pytest.raises(DependencyUnavailable):
        await verifier.verify(signer.token())
    session = new_id()
    again = RevocationFeed(Auth([[Revoked(session_id=session)]]), revocations)
    verifier._freshness = again
    assert await verifier.verify(signer.token())
    with pytest.raises(TokenInvalid):
        await verifier.verify(signer.token(sid=session))


async def test_old_state_refuses_what_needs_fresh_sessions_and_is_counted_for_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    signer, registry = Signer(), CollectorRegistry()
    feed = RevocationFeed(signer, revocations := Revocations(3600))
    verifier = AccessTokens(
        signer,
        issuer=ISSUER,
        audience=AUDIENCE,
        permissions={},
        revocations=revocations,
        freshness=feed,
        max_age_seconds=30,
        stale=Counter("stale", "Stale.", registry=registry),
    )
    good = signer.token()

    def aged(seconds: float) -> None:
        monkeypatch.setattr(feed, "_current_at", time.monotonic() - seconds)

    for seconds, counted in ((0, 0), (4, 0), (6, 2), (29, 4)):
        await feed.first() if not feed.answered else None
        aged(seconds)
        for fresh in (False, True):
            assert await verifier.verify(good, fresh=fresh)
        assert registry.get_sample_value("stale_total") == counted
    aged(31)
    assert await verifier.verify(good)
    with pytest.raises(DependencyUnavailable):
        await verifier.verify(good, fresh=True)
    assert registry.get_sample_value("stale_total") == 5


def test_epochs_and_exceptions_say_the_same_in_any_order() -> None:
    chance = random.Random(8)  # noqa: S311 - no secret
    for _ in range(300):
        told = [(epoch, chance.choice(["", "a", "b"])) for epoch in range(1, 5)]
        tokens = [token(session, epoch=epoch) for session in ("a", "b", "c") for epoch in range(6)]
        expected = [
            any(one.epoch < epoch and one.principal.session_id != kept for epoch, kept in told) for one in tokens
        ]
        for order in itertools.permutations(told):
            revoked = RevokedEpochs()
            for epoch, kept in (*order, *order):
                revoked = revoked.with_revocation(epoch, kept)
            assert [revoked.covers(one) for one in tokens] == expected, order


def test_memory_is_bounded_by_what_is_revoked_within_a_tokens_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    revocations = Revocations(token_lifetime_seconds=3600)
    tracemalloc.start()
    try:
        for second in range(4 * 3600):
            now[0] = second
            revocations.revoke_session(new_id())
            revocations.revoke_user(new_id(), before_epoch=1)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(revocations._sessions) == len(revocations._users) == len(revocations._epochs) == 3600
    assert held / 7200 < 700, "bytes a revocation"


async def _asked(auth: Auth, times: int) -> bool:
    return len(auth.asked) >= times


async def _answered(feed: RevocationFeed) -> bool:
    return feed.answered


async def _older(feed: RevocationFeed, seconds: float) -> bool:
    return feed.age_seconds > seconds


async def _fresher(feed: RevocationFeed, seconds: float) -> bool:
    return feed.age_seconds < seconds
