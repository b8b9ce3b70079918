"""The rules that drive the pure book drive the service over its API, on a real database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from azora.payment.v1 import payment_pb2, wallet_service_pb2
from azora.payment.v1 import payment_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration
from grpc import aio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from services.payment.holds.commands import CreateHold, ReleaseHold
from services.payment.ledger.model import AccountState
from services.payment.payments.commands import CaptureHold, CreatePayment, Earn, ReserveRefund
from services.payment.transfers.commands import BatchCreateTransfers, CreateTransfer
from services.payment.wallets.commands import ChangeWalletState
from services.shared.ids import new_id
from tests.support.api_ledger import ApiLedger, Callers
from tests.support.ledger_rules import LedgerRules, Refusal
from tests.support.payment import EDUCATION, Person, RunningPayment, azr
from tests.support.refusals import described

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from azora.client import Metadata

    from services.payment.ledger.book import Command

SCALE = 60
"""Seconds of the service for one of the model: what a test takes never decides whether a hold has expired."""

ATTEMPTS = 5
"""Calls with the same key, as clients make them, where a busy machine took too long to connect to the database."""


class ServiceMachine(LedgerRules):
    """The service. Hypothesis runs in a thread, the calls in the test's event loop."""

    payment: RunningPayment
    ledger: ApiLedger
    callers: Callers
    loop: asyncio.AbstractEventLoop

    def run(self, command: Command[Any]) -> Any:
        """Make the call that runs the command."""
        key = new_id()
        for _ in range(ATTEMPTS):
            try:
                return self._await(self._call(command, key))
            except aio.AioRpcError as error:
                reason = described(error).reason
                if reason != "DEPENDENCY_UNAVAILABLE":
                    raise Refusal(reason) from error
        raise AssertionError(f"{ATTEMPTS} calls in turn found no database")

    def pass_time(self, seconds: int) -> None:
        """Bring the expiry of holds nearer."""
        statement = "UPDATE holds SET expire_time = expire_time - $1 * interval '1 second' WHERE state = 'ACTIVE'"
        self._await(self.payment.sql(statement, seconds * SCALE))

    def balance(self, user: str) -> tuple[int, int]:
        """Read the wallet."""
        _, posted, _, available = self._await(self.ledger.balance(user))
        return posted, available

    def wallet(self, user: str) -> tuple[str, str]:
        """Read the wallet."""
        wallet = self._await(Person(user, self._as(user), self.payment).wallet())
        return wallet.id, wallet.balances[0].etag

    def teardown(self) -> None:
        """Verify the whole ledger."""
        assert self._await(self.ledger.verify()) == []

    def _await(self, call: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self.loop).result()

    def _as(self, user: str) -> Metadata:
        return self.callers.user(user)

    async def _call(self, command: Command[Any], key: str) -> Any:
        stub = self.payment.payments
        made: Any
        match command:
            case Earn(earning=earning):
                earn = pb.EarnRequest(
                    user_id=earning.user_id,
                    amount=azr(earning.amount.amount_minor),
                    reference=earning.reference,
                    request_id=key,
                )
                made = (await stub.Earn(earn, metadata=EDUCATION)).transaction
            case CreatePayment(user_id=user, order=order):
                kind = payment_pb2.PaymentType.Value(f"PAYMENT_TYPE_{order.type}")
                pay = pb.CreatePaymentRequest(type=kind, amount=azr(order.amount.amount_minor), request_id=key)
                made = (await stub.CreatePayment(pay, metadata=self._as(user))).payment
            case CreateHold(user_id=user, order=order, expire_after=expire_after):
                duration = Duration(seconds=int(expire_after.total_seconds()) * SCALE)
                hold = pb.CreateHoldRequest(
                    amount=azr(order.amount.amount_minor), expire_after=duration, request_id=key
                )
                made = (await stub.CreateHold(hold, metadata=self._as(user))).hold
            case CaptureHold(hold_id=hold_id, user_id=user, amount=amount) if amount is not None:
                capture = pb.CaptureHoldRequest(hold_id=hold_id, amount=azr(amount.amount_minor), request_id=key)
                captured = await stub.CaptureHold(capture, metadata=self._as(user))
                made = captured.hold, captured.payment
            case ReleaseHold(hold_id=hold_id, user_id=user):
                release = pb.ReleaseHoldRequest(hold_id=hold_id, request_id=key)
                made = (await stub.ReleaseHold(release, metadata=self._as(user))).hold
            case ReserveRefund(payment_id=payment_id, user_id=user, amount=amount) if amount is not None:
                refund = pb.CreateRefundRequest(payment_id=payment_id, amount=azr(amount.amount_minor), request_id=key)
                made = (await stub.CreateRefund(refund, metadata=self._as(user))).refund
            case BatchCreateTransfers(user_id=user, orders=orders, partial=partial):
                transfers = [
                    pb.BatchTransfer(target_user_id=order.target.user_id, amount=azr(order.amount.amount_minor))
                    for order in orders
                ]
                batch = pb.BatchCreateTransfersRequest(
                    transfers=transfers, return_partial_success=partial, request_id=key
                )
                made = await stub.BatchCreateTransfers(batch, metadata=self._as(user))
            case CreateTransfer(user_id=user, order=order, conditions=conditions):
                minimum = conditions.minimum_available_after
                transfer = pb.CreateTransferRequest(
                    target_user_id=order.target.user_id,
                    amount=azr(order.amount.amount_minor),
                    minimum_available_after=None if minimum is None else azr(minimum.amount_minor),
                    etag=conditions.etag,
                    request_id=key,
                )
                made = (await stub.CreateTransfer(transfer, metadata=self._as(user))).transfer
            case ChangeWalletState():
                made = await self._change(command, key)
            case _:
                raise TypeError(f"no call runs {command}")
        return made

    async def _change(self, command: ChangeWalletState, key: str) -> Any:
        calls: dict[AccountState, tuple[Any, Any]] = {
            AccountState.ACTIVE: (self.payment.wallets.UnfreezeWallet, wallet_service_pb2.UnfreezeWalletRequest),
            AccountState.FROZEN: (self.payment.wallets.FreezeWallet, wallet_service_pb2.FreezeWalletRequest),
            AccountState.CLOSED: (self.payment.wallets.CloseWallet, wallet_service_pb2.CloseWalletRequest),
        }
        call, request = calls[command.state]
        change = request(wallet_id=command.wallet_id, reason=command.reason, request_id=key)
        return await call(change, metadata=self.callers.admin)


async def test_the_service_decides_as_the_model_does(payment: RunningPayment) -> None:
    loop = asyncio.get_running_loop()

    class Machine(ServiceMachine):
        pass

    Machine.payment, Machine.loop = payment, loop
    Machine.callers = Callers.of(payment.signer)
    Machine.ledger = ApiLedger(payment.channel, Machine.callers)
    few = settings(
        max_examples=6,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=few)
