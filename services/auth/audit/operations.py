"""Audit events of all services, merged, and verification of all their logs."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from services.auth.audit.model import EventPage, ListedEvent, VerifiedChains
from services.shared.audit.model import EventPosition
from services.shared.errors import DeadlineExceeded, ResourceExhausted, Unavailable, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from services.auth.ports import AuditSource
    from services.shared.audit.model import EventFilter
    from services.shared.pagination import PageTokens
    from services.shared.principal import Principal

Answer = TypeVar("Answer")

LIST_SECONDS, VERIFY_SECONDS = 2.5, 4.5
"""Time for each log's part of a page, Auth's own too: within the call's, so that the others' parts are not lost."""
MAX_MISSES = 3
"""Pages in a row to which a service does not answer before its log is not verified any further."""
UNREACHABLE = (DeadlineExceeded, ResourceExhausted, TimeoutError, Unavailable)
"""A service that fails with one of these did not answer in time."""


class AuditOperations:
    """Asks all services at once. One that does not answer is named, and keeps the others from nothing."""

    def __init__(self, *, sources: Mapping[str, AuditSource], pages: PageTokens) -> None:
        """Take the logs by the names of their services, Auth's own included."""
        self._sources = dict(sources)
        self._pages = pages

    async def list_events(
        self, *, principal: Principal, selected: EventFilter, page_size: int, page_token: str
    ) -> EventPage:
        """Return a page of the selected events of all services, newest first. Raises PageTokenInvalid."""
        bound_to = {"method": "ListEvents", "caller": principal.id, "filter": _bound(selected)}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        before = None
        if request.cursor:
            time, event_id = request.cursor
            before = EventPosition(create_time=datetime.fromisoformat(time), id=event_id)
        answers, unreachable = await _gathered(
            {
                name: source.list_events(selected=selected, before=before, limit=request.limit)
                for name, source in self._sources.items()
            },
            seconds=LIST_SECONDS,
        )
        merged = [ListedEvent(name, stored) for name, events in answers.items() for stored in events]
        merged.sort(key=lambda listed: (listed.stored.create_time, listed.stored.event.id), reverse=True)
        page = request.page(
            merged[: request.limit],
            lambda listed: [listed.stored.create_time.isoformat(), listed.stored.event.id],
        )
        return EventPage(page, unreachable)

    async def verify_chain(
        self, *, principal: Principal, after: Mapping[str, tuple[int, bytes]], page_token: str
    ) -> VerifiedChains:
        """Verify a part of each service's log, from where the token says; the first after seals that are known.

        A service that does not answer is asked again by the next page. Raises ValidationFailed, PageTokenInvalid.
        """
        if not after.keys() <= self._sources.keys():
            raise ValidationFailed
        known = sorted([name, number, digest.hex()] for name, (number, digest) in after.items())
        bound_to = {"method": "VerifyChain", "caller": principal.id, "after": known}
        request = self._pages.request(page_size=0, page_token=page_token, bound_to=bound_to)
        at: dict[str, tuple[str, int]] = dict.fromkeys(self._sources, ("", 0))
        if request.cursor:
            at = {name: (token, misses) for name, token, misses in request.cursor}
        answers, unreachable = await _gathered(
            {
                name: source.verify_chain(page_token=at[name][0], after=after.get(name, (0, b"")))
                for name, source in self._sources.items()
                if name in at
            },
            seconds=VERIFY_SECONDS,
        )
        rest = [[name, verified.next_page_token, 0] for name, verified in answers.items() if verified.next_page_token]
        rest += [[name, at[name][0], at[name][1] + 1] for name in unreachable if at[name][1] + 1 < MAX_MISSES]
        return VerifiedChains(answers, unreachable, request.token(rest) if rest else "")


async def _gathered(
    calls: Mapping[str, Coroutine[object, object, Answer]], *, seconds: float
) -> tuple[dict[str, Answer], list[str]]:
    """Await calls at once; return the answers by name, and the names of those that were not answered in time."""
    bounded = (asyncio.wait_for(call, seconds) for call in calls.values())
    outcomes = await asyncio.gather(*bounded, return_exceptions=True)
    answers: dict[str, Answer] = {}
    unreachable = []
    for name, outcome in zip(calls, outcomes, strict=True):
        if isinstance(outcome, UNREACHABLE):
            unreachable.append(name)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            answers[name] = outcome
    return answers, unreachable


def _bound(selected: EventFilter) -> list[str]:
    """Return what a page token is bound to."""
    return [
        selected.user_id,
        selected.target,
        selected.action,
        selected.outcome or "",
        *(time.isoformat() if time else "" for time in (selected.start_time, selected.end_time)),
    ]
