"""Steady load whose payments are calls of all the ledger's kinds, for the checker, and whose calls have deadlines."""

from __future__ import annotations

import itertools
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from azora import client
from grpc import aio

from services.compiler.contract import load_contract
from tests.support import api_ledger
from tests.support.api_ledger import Callers, PersistentLedger
from tests.support.checker import Answer, History, check
from tests.support.people import People
from tests.support.steady import DEADLINE_SECONDS, SteadyLoad

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    import httpx

    from tests.support.api_ledger import ApiLedger
    from tests.support.checker import Call
    from tests.support.steady import Outcomes
    from tests.support.system import LocalSystem

SLACK_SECONDS = 0.5
EXCUSES = {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}
"""What calls may be answered that fail for a fault of the database."""
CONNECTIONS = 16
"""The edge takes 64 calls at once on each: together more than there are when none is answered."""
_payments = "/azora.payment.v1.PaymentService"
_paths = {
    "mesh": "/azora.auth.v1.TokenService/GetJwks",
    "profile": "/azora.auth.v1.AuthService/GetProfile",
    "course": "/azora.education.v1.CourseService/GetCourse",
    "enrollments": "/azora.education.v1.EnrollmentService/ListEnrollments",
    "wallet": "/azora.payment.v1.WalletService/GetWallet",
    "earn": f"{_payments}/Earn",
    "pay": f"{_payments}/CreatePayment",
    "hold": f"{_payments}/CreateHold",
    "capture": f"{_payments}/CaptureHold",
    "release": f"{_payments}/ReleaseHold",
    "refund": f"{_payments}/CreateRefund",
    "transfer": f"{_payments}/CreateTransfer",
    "batch": f"{_payments}/BatchCreateTransfers",
}
_policies = load_contract().policies
DEADLINES = {name: _policies[path].timeout_seconds for name, path in _paths.items()}
"""Seconds after which calls must have ended."""


class CheckedLoad(SteadyLoad):
    """The steady load, with a ledger that can be checked after it."""

    def __init__(self, system: LocalSystem, http: httpx.AsyncClient) -> None:
        """Call without any retries."""
        super().__init__(system, http, retries=False, channels=CONNECTIONS)
        self._chance = random.Random(2026)  # noqa: S311 - not a secret
        self._ledgers: list[PersistentLedger]
        self._history: History

    async def prepare(self) -> None:
        """Register people and fund their wallets, and begin the history of the ledger."""
        await super().prepare()
        users = {payer.user_id: payer.metadata for payer in self._payers}
        admin = (await People(self._http).admin())["authorization"].removeprefix("Bearer ")
        callers = Callers(users.__getitem__, client.bearer(admin), client.bearer(admin))
        self._ledgers = [PersistentLedger(channel, callers) for channel in self._channels]
        earlier = {entry.transaction for entry in await self._ledgers[0].entries()}
        self._history = History(list(users), earlier=earlier)

    def _turns(self) -> Iterator[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]:
        """Give the steady load's calls, with one of any kind in place of each payment."""
        ledgers = itertools.cycle(self._ledgers)
        for name, call in super()._turns():
            if name == "pay":
                chosen = self._history.choose(self._chance)
                yield chosen.kind, partial(self._keyed, next(ledgers), chosen)
            else:
                yield name, call

    async def _keyed(self, ledger: ApiLedger, call: Call) -> None:
        """Make a call and note its answer; a refusal is an answer like any other."""
        try:
            answer = Answer(await ledger.made(call, timeout_seconds=DEADLINE_SECONDS))
        except aio.AioRpcError as error:
            answer = api_ledger.refusal(error)
            self._history.record(call, answer)
            if not answer.known:
                raise
        else:
            self._history.record(call, answer)

    async def check(self) -> list[str]:
        """Return what is wrong with the ledger, now that the load has ended."""
        return await check(self._ledgers[0], self._history)


def late(outcomes: Outcomes) -> list[str]:
    """Return the calls that lasted longer than their deadline, and how much."""
    return [
        f"{outcome.call}: {outcome.seconds:.2f} s, {outcome.error or 'OK'}"
        for outcome in outcomes.all
        if outcome.seconds - outcomes.stalled(outcome) > DEADLINES[outcome.call] + SLACK_SECONDS
    ]


def unexcused(outcomes: Outcomes) -> list[str]:
    """Return the failures that a fault of the database does not excuse."""
    return [
        f"{outcome.error} ({outcome.seconds:.2f} s, {outcomes.stalled(outcome):.2f} s of them the load's own)"
        for outcome in outcomes.failed
        if outcome.error.split()[1] not in EXCUSES
    ]


def resumed_seconds(outcomes: Outcomes, since: float) -> float:
    """Return how long after a moment the last call began that failed."""
    return max((outcome.began - since for outcome in outcomes.failed), default=0.0)
