"""A service's background work, and conversion between it and its message, which the gateway's console asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from azora.event.v1 import background_work_pb2 as pb

from services.shared.convert import timestamp, to_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts of a service's undelivered events and unfinished jobs."""

    events: int
    """Events waiting for a subscriber, counted per subscriber."""
    dead_events: int
    jobs: int
    """Jobs that are due or running."""
    deferred_jobs: int
    """Jobs whose time is still to come: a delay or a retry."""
    failed_jobs: int

    @property
    def drained(self) -> bool:
        """Whether nothing is due."""
        return not (self.events or self.jobs)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a subscriber refused for good, or a job that was given up."""

    id: str
    kind: str
    """event or job."""
    name: str
    """The event's type, or the job's name."""
    subscriber: str
    """The service that the event is for; empty for a job."""
    attempts: int
    reason: str
    fail_time: datetime


@dataclass(frozen=True, slots=True)
class BackgroundWork:
    """The background work of a service."""

    service: str
    backlog: Backlog
    dead_letters: Sequence[DeadLetter]
    """The oldest of them."""


def background_work(model: BackgroundWork) -> pb.BackgroundWork:
    """Return the message of a service's background work."""
    return pb.BackgroundWork(
        service=model.service,
        waiting_events=model.backlog.events,
        dead_events=model.backlog.dead_events,
        due_jobs=model.backlog.jobs,
        deferred_jobs=model.backlog.deferred_jobs,
        failed_jobs=model.backlog.failed_jobs,
        dead_letters=[
            pb.DeadLetter(
                id=letter.id,
                kind=letter.kind,
                name=letter.name,
                subscriber=letter.subscriber,
                attempts=letter.attempts,
                reason=letter.reason,
                fail_time=timestamp(letter.fail_time),
            )
            for letter in model.dead_letters
        ],
    )


def to_background_work(message: pb.BackgroundWork) -> BackgroundWork:
    """Return the background work that another service tells of."""
    return BackgroundWork(
        service=message.service,
        backlog=Backlog(
            events=message.waiting_events,
            dead_events=message.dead_events,
            jobs=message.due_jobs,
            deferred_jobs=message.deferred_jobs,
            failed_jobs=message.failed_jobs,
        ),
        dead_letters=[
            DeadLetter(
                id=letter.id,
                kind=letter.kind,
                name=letter.name,
                subscriber=letter.subscriber,
                attempts=letter.attempts,
                reason=letter.reason,
                fail_time=to_time(letter.fail_time, field="failTime"),
            )
            for letter in message.dead_letters
        ],
    )
