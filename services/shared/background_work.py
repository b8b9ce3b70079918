"""A service's background work as its InternalService tells of it, to the gateway's console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.event.v1 import background_work_pb2 as pb

from services.shared.convert import timestamp, to_time
from services.shared.dead_letters import BackgroundWork, Backlog, DeadLetter, backlog, list_dead_letters

if TYPE_CHECKING:
    from services.shared.db import Database

MAX_DEAD_LETTERS = 100


class BackgroundWorkOperations:
    """Queries of a service's outbox and job queue."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def get_background_work(self, *, service: str) -> BackgroundWork:
        """Return what is undelivered, unfinished and given up of this service, and the oldest 100 dead letters."""
        async with self._database.reading() as connection:
            letters = await list_dead_letters(connection, limit=MAX_DEAD_LETTERS)
            return BackgroundWork(service, await backlog(connection), letters)


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
                subscriber=letter.target,
                attempts=letter.attempts,
                reason=letter.reason,
                fail_time=timestamp(letter.failed_time),
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
                target=letter.subscriber,
                attempts=letter.attempts,
                reason=letter.reason,
                failed_time=to_time(letter.fail_time, field="failTime"),
            )
            for letter in message.dead_letters
        ],
    )
