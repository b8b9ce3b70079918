"""The writer of a process: takes the commands that wait, and commits them in groups.

While one group commits, the next gathers; under load also a moment longer, while callers come. A group
goes on without the commands whose accounts another writer holds locked; these wait for the lock in lanes, on
connections of their own, one account in each.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg

from services.payment.ledger.group import Committer
from services.payment.ledger.pending import Outcome, Pending
from services.payment.ledger.session import Session
from services.shared.connections import DRIVER_ERRORS, driver_error
from services.shared.errors import DependencyUnavailable, DomainError, IdempotencyKeyReused, Overloaded
from services.shared.idempotency import replay
from services.shared.telemetry import recorded_span, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.payment.ledger.book import Command
    from services.payment.ledger.pending import Identity
    from services.payment.ledger.rows import Kind
    from services.shared.db import Database
    from services.shared.idempotency import Idempotent, Message
    from services.shared.outbox import Outbox

Effect = TypeVar("Effect")
Response = TypeVar("Response", bound="Message")

logger = logging.getLogger(__name__)

MAX_GROUP = 512
"""Postings in a group."""
MIN_GROUP = 32
"""Postings in a group of a database that is too slow for larger ones."""
BUSY_GROUP = 4
"""Commands in a group after which the next one gathers: most of a group's cost is the same for one and for fifty."""
IDLE_PASSES = 16
"""Passes of the event loop that bring no command: a call that waits for nothing comes to the ledger in fewer."""
MAX_GATHERING_SECONDS = 0.01
"""What gathering adds to the latency of a command at most."""
LARGE = 64
"""A command with more postings has a group of its own, in the lane of large commands."""
LARGE_LANE = "large"
MAX_WAITING = 4096
MAX_WAITING_IN_LANE = 512
MAX_LANES = 4
"""Accounts that are waited for at once, beside the lane of large commands."""
MAX_SKIPS = 2
"""Groups that may go on without a command before it waits for the lock in a lane: most locks last one group."""
MAX_SKIPPED_SECONDS = 1.0
"""How long a command waits for a lane to be free."""
RETRY_SECONDS = 0.005
ATTEMPTS = 5
"""Runs of a group that meets keys which other writers took meanwhile, or deadlocks."""

MAX_LOSSES = 1
"""Lost connections after which a group runs again: it may have been too slow, and its callers wait."""

RUNS_AGAIN = (
    asyncpg.UniqueViolationError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,
)
STILL_LOCKED = (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
OUT_OF_TIME = (TimeoutError, asyncpg.QueryCanceledError)


@dataclass(slots=True)
class Lane:
    """Commands that wait for one account, or large commands, one by one."""

    account_id: str | None
    """None for large commands: each waits for those of its accounts that it found locked."""
    queue: deque[Pending] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None

    def wait_for(self, group: Iterable[Pending]) -> Sequence[str]:
        """Return the accounts whose locks a group waits for."""
        return [self.account_id] if self.account_id else [id_ for pending in group for id_ in pending.locked]


class Writer:
    """Runs commands against the ledger, each exactly once under its idempotency key."""

    def __init__(
        self, database: Database, kinds: Sequence[Kind[Any]], outbox: Outbox, *, max_waiting: int = MAX_WAITING
    ) -> None:
        self._database = database
        self._max_waiting = max_waiting
        self._committer = Committer(kinds, outbox)
        self._queue: deque[Pending] = deque()
        self._keys: dict[Identity, Pending] = {}
        self._lanes: dict[str, Lane] = {}
        self._sessions: list[Session] = []
        """Those that nobody uses now."""
        self._max_group = MAX_GROUP
        self._task: asyncio.Task[None] | None = None
        self.waiting = 0
        """Commands that wait or are being committed."""

    async def run(self, command: Command[Effect]) -> Effect:
        """Run a command without a key. Raises its refusal, DependencyUnavailable, Overloaded."""
        return cast("Effect", (await self._submit(command, None))[0])

    async def quote(self, command: Command[Effect]) -> Effect:
        """Return what the command would do now, without doing it. Raises what `run` would."""
        return cast("Effect", (await self._submit(command, None, quote=True))[0])

    async def quote_answer(self, command: Command[Effect], call: Idempotent[Effect, Response]) -> Response:
        """Return the answer that the command would get now, without doing it: what it would create has no ID.

        Raises what `run` would. The key is neither asked nor kept.
        """
        return call.encode(await self.quote(command))

    async def answer(self, command: Command[Effect], call: Idempotent[Effect, Response]) -> Response:
        """Run a command once for its key; later calls get the same answer.

        Raises its refusal, now or then, IdempotencyKeyReused, DependencyUnavailable, Overloaded.
        """
        return cast("Response", (await self._submit(command, call))[0])

    async def advance(
        self, command: Command[Effect], call: Idempotent[Effect, Response]
    ) -> tuple[Response, None] | tuple[None, Effect]:
        """As `answer`, for an effect that may not be decided yet: it is committed and returned in place of the answer.

        The key is then claimed; the next call under it runs its command again, until there is an answer to keep.
        """
        result, answered = await self._submit(command, call)
        return (cast("Response", result), None) if answered else (None, cast("Effect", result))

    async def _submit(
        self, command: Command[Any], call: Idempotent[Any, Any] | None, *, quote: bool = False
    ) -> tuple[Any, bool]:
        """Return the answer or the effect, and whether it is the answer."""
        loop = asyncio.get_running_loop()
        while True:
            pending = Pending(command, call, loop.time(), recorded_span(), quote)
            first = self._keys.get(pending.identity) if pending.identity else None
            if first is None:
                self._enqueue(pending)
            waiter: asyncio.Future[Outcome] = loop.create_future()
            (first or pending).waiters.append(waiter)
            with self._database.waiting():
                outcome = await waiter
            record = outcome.record
            if first is None or call is None or first.call is None or first.call.fingerprint == call.fingerprint:
                break
            if record is not None:
                raise IdempotencyKeyReused
        if call is not None and record is not None and record.answered and (outcome.replayed or first is not None):
            answer = replay(call, record.response, record.rejection)
            if isinstance(answer, DomainError):
                raise answer
            return answer, True
        if outcome.error is not None:
            raise outcome.error.with_traceback(None)  # One error may be that of hundreds of callers.
        answered = record is not None and record.answered
        return (outcome.answer if answered else outcome.effect), answered

    def _enqueue(self, pending: Pending) -> None:
        if self.waiting >= self._max_waiting:
            raise Overloaded(retry_after_seconds=1)
        self.waiting += 1
        if pending.identity:
            self._keys[pending.identity] = pending
        self._queue.append(pending)
        self._wake()

    def _wake(self) -> None:
        if self._task is None:
            # In a context of its own: it outlives the call that begins it.
            self._task = asyncio.create_task(self._run(), name="ledger writer", context=Context())

    async def _run(self) -> None:
        try:
            while self._queue:
                group = self._take(self._queue, self._max_group)
                again = self._set_aside(await self._execute(group)) if group else 0
                if again and again == len(self._queue):
                    await asyncio.sleep(RETRY_SECONDS)  # Nothing but commands that wait for locks.
                elif len(group) >= BUSY_GROUP:
                    await self._gather()
        finally:
            self._task = None

    async def _gather(self) -> None:
        """Let the commands that are on their way join the next group, until the event loop brings no more of them."""
        loop = asyncio.get_running_loop()
        end, idle_passes = loop.time() + MAX_GATHERING_SECONDS, 0
        while idle_passes < IDLE_PASSES and len(self._queue) < self._max_group and loop.time() < end:
            waiting = len(self._queue)
            await asyncio.sleep(0)
            idle_passes = idle_passes + 1 if len(self._queue) == waiting else 0

    async def _run_lane(self, key: str, lane: Lane) -> None:
        try:
            while lane.queue:
                group = self._take(lane.queue, self._max_group if lane.account_id else 1)
                skipped = [pending for pending, _ in await self._execute(group, lane)]
                if lane.account_id:
                    lane.queue.extendleft(reversed(skipped))
                else:
                    lane.queue.extend(skipped)  # What others have locked holds up no other large command.
                if skipped and len(skipped) == len(group):
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            del self._lanes[key]

    def _take(self, queue: deque[Pending], max_postings: int) -> list[Pending]:
        """Take the next group of a queue; commands whose callers have all gone away are dropped."""
        group: list[Pending] = []
        postings = 0
        while queue:
            if queue[0].abandoned:
                self._drop([queue.popleft()])
                continue
            postings += queue[0].needs.postings
            if group and postings > max_postings:
                break
            group.append(queue.popleft())
        return group

    async def _execute(self, group: Sequence[Pending], lane: Lane | None = None) -> list[tuple[Pending, str]]:
        """Commit a group, in parts if the database refuses it. Return what could not be locked, and what it needs."""
        failure: Exception = Overloaded(retry_after_seconds=1)
        losses = 0
        for _ in range(ATTEMPTS):
            if not group:
                return []
            try:
                session = await self._acquire()
            except Exception as error:  # noqa: BLE001 - whatever it was, its callers are told
                self._settle(group, Outcome(error=error))
                return []
            try:
                # The statements of a group are spans of one of its calls.
                with within(next((pending.span for pending in group if pending.span), None)):
                    owners = await self._committer.resolve(session, group)
                    group = self._divert(group) if lane is None else group
                    wait_for = lane.wait_for(group) if lane else ()
                    result = await self._committer.commit(session, group, owners, wait_for=wait_for)
            except Exception as error:  # noqa: BLE001 - whatever it was, its callers are told
                failure = driver_error(error, session.connection)
                lost = await self._end(session, failure)
                if isinstance(failure, STILL_LOCKED) and lane is not None and not session.wrote:
                    return [(pending, "") for pending in group]
                losses += lost
                if losses > MAX_LOSSES or not (lost or isinstance(failure, RUNS_AGAIN)):
                    break
            else:
                self._sessions.append(session)
                self._max_group = min(MAX_GROUP, self._max_group + MIN_GROUP)
                for pending, outcome in result.outcomes:
                    self._settle([pending], outcome)
                self._drop(result.dropped)
                if result.outdated:
                    self._queue.extendleft(reversed(result.outdated))
                    self._wake()
                return result.skipped
        return await self._refused(group, failure, lane, unknown=session.unknown)

    async def _refused(
        self, group: Sequence[Pending], failure: Exception, lane: Lane | None, *, unknown: bool
    ) -> list[tuple[Pending, str]]:
        """Answer a group that failed, in halves where one command may be at fault: not if it may be committed."""
        named = self._database.named(failure) if isinstance(failure, (*DRIVER_ERRORS, OSError)) else failure
        if isinstance(failure, OUT_OF_TIME):
            self._shrink()
        if unknown or isinstance(failure, OUT_OF_TIME):
            named = DependencyUnavailable(retry_after_seconds=1)
        logger.warning(
            "ledger group failed",
            extra={
                "commands": len(group),
                "error": type(failure).__name__,
                "sqlstate": getattr(failure, "sqlstate", None),
            },
        )
        if len(group) == 1 or isinstance(named, DependencyUnavailable):
            self._settle(group, Outcome(error=named))
            return []
        # One command is at fault, and the others shall not know.
        middle = len(group) // 2
        return [*await self._execute(group[:middle], lane), *await self._execute(group[middle:], lane)]

    def _shrink(self) -> None:
        """Make smaller groups: or callers that come again would make the same large one, and be too slow again."""
        self._max_group = max(MIN_GROUP, self._max_group // 2)

    def _divert(self, group: Sequence[Pending]) -> list[Pending]:
        """Send commands to the lanes of their accounts, and large ones to theirs; return the others."""
        rest = []
        for pending in group:
            key = next((account_id for account_id in pending.accounts if account_id in self._lanes), None)
            if key is None and pending.needs.postings > LARGE:
                key = LARGE_LANE
            if key is None:
                rest.append(pending)
            elif key in self._lanes:
                self._join(key, pending)
            else:
                self._open_lane(key, None, pending)
        return rest

    def _set_aside(self, skipped: Iterable[tuple[Pending, str]]) -> int:
        """Let commands whose accounts are locked elsewhere try again, or wait in a lane; return how many try again."""
        again: list[Pending] = []
        now = asyncio.get_running_loop().time()
        for pending, account_id in skipped:
            pending.skips += 1
            if account_id in self._lanes:
                self._join(account_id, pending)
            elif pending.skips >= MAX_SKIPS and len(self._lanes) - (LARGE_LANE in self._lanes) < MAX_LANES:
                self._open_lane(account_id, account_id, pending)
            elif pending.skips >= MAX_SKIPS and now - pending.submit_time > MAX_SKIPPED_SECONDS:
                self._settle([pending], Outcome(error=Overloaded(retry_after_seconds=1)))
            else:
                again.append(pending)
        self._queue.extendleft(reversed(again))
        return len(again)

    def _join(self, key: str, pending: Pending) -> None:
        lane = self._lanes[key]
        if len(lane.queue) >= MAX_WAITING_IN_LANE:
            self._settle([pending], Outcome(error=Overloaded(retry_after_seconds=1)))
        else:
            lane.queue.append(pending)

    def _open_lane(self, key: str, account_id: str | None, pending: Pending) -> None:
        lane = self._lanes[key] = Lane(account_id, deque([pending]))
        lane.task = asyncio.create_task(self._run_lane(key, lane), name="ledger lane", context=Context())

    async def _acquire(self) -> Session:
        while self._sessions:
            session = self._sessions.pop()
            session.wrote = session.committing = False
            if not session.closed:
                return session
        return await Session.open(self._database)

    async def _end(self, session: Session, error: Exception) -> bool:
        """Leave nothing open: roll back, or give the connection up, at once if the database did not answer on it.

        Return whether the connection was lost before COMMIT was sent: nothing has happened.
        """
        try:
            if isinstance(error, TimeoutError):
                session.close()
            else:
                await session.rollback()
        except (*DRIVER_ERRORS, OSError, TimeoutError):
            session.close()
        if not session.closed:
            self._sessions.append(session)
            return False
        if session.unknown or isinstance(error, OUT_OF_TIME):
            return False
        self._shrink()  # PostgreSQL ends the session of a group that takes too long between two statements.
        return True

    def _drop(self, group: Iterable[Pending]) -> None:
        for pending in group:
            if pending.abandoned:
                self._forget(pending)
            else:  # A caller with the same key has come meanwhile.
                self._queue.append(pending)
                self._wake()

    def _settle(self, group: Iterable[Pending], outcome: Outcome) -> None:
        for pending in group:
            self._forget(pending)
            pending.settle(outcome)

    def _forget(self, pending: Pending) -> None:
        self.waiting -= 1
        if pending.identity:
            self._keys.pop(pending.identity, None)
