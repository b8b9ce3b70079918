"""The ledger over its API, for the checker: calls of users and of Education, and what an administrator can read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import grpc
from azora.client import bearer
from azora.payment.v1 import (
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    payment_pb2,
    payment_service_pb2_grpc,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)
from azora.payment.v1 import payment_service_pb2 as pb
from grpc import aio

from services.shared.ids import new_id
from tests.support.checker import UNKNOWN, Answer, SeenEntry
from tests.support.payment import EDUCATION, azr
from tests.support.refusals import described
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from azora.client import Metadata

    from tests.support.checker import Call
    from tests.support.serving import Signer

TIMEOUT_SECONDS = 5
SAYS_NOTHING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
}
"""Codes of calls that may have done something, or nothing."""


@dataclass(frozen=True, slots=True)
class Callers:
    """Whose calls they are."""

    user: Callable[[str], Metadata]
    """Returns the metadata of a user's calls."""
    admin: Metadata
    granting: Metadata
    """Who grants what is earned."""

    @classmethod
    def of(cls, signer: Signer) -> Callers:
        """Return those to whom the signer gives tokens, and Education as a service sees it."""
        user = cache(lambda user_id: bearer(signer.token(user_id)))
        return cls(user, bearer(signer.token(new_id(), "ROLE_ADMIN")), EDUCATION)


class ApiLedger:
    """The ledger of a running Payment."""

    def __init__(self, channel: aio.Channel, callers: Callers) -> None:
        self._payments = payment_service_pb2_grpc.PaymentServiceStub(channel)
        self._wallets = wallet_service_pb2_grpc.WalletServiceStub(channel)
        self._ledger = ledger_service_pb2_grpc.LedgerServiceStub(channel)
        self._callers = callers
        self.unknown = 0
        """Calls whose outcome was unknown."""

    async def send(self, call: Call) -> Answer:
        """Send a call, once."""
        try:
            return Answer(await self.made(call))
        except aio.AioRpcError as error:
            answer = refusal(error)
            self.unknown += not answer.known
            return answer

    async def entries(self) -> Sequence[SeenEntry]:
        """Return all entries."""
        seen: list[SeenEntry] = []
        token = ""
        while not seen or token:
            request = ledger_service_pb2.ListEntriesRequest(page_size=100, page_token=token)
            response = await self._ledger.ListEntries(request, metadata=self._callers.admin)
            seen += [
                SeenEntry(
                    entry.account_id,
                    entry.account_owner_id,
                    entry.sequence,
                    entry.transaction_id,
                    entry.currency,
                    entry.amount,
                    entry.balance_after,
                    entry.transaction_type,
                    entry.source_id,
                )
                for entry in response.entries
            ]
            token = response.next_page_token
        return seen

    async def balance(self, user: str) -> tuple[str, int, int, int]:
        """Return a user's balance of AZR."""
        request = wallet_service_pb2.GetWalletRequest()
        wallet = (await self._wallets.GetWallet(request, metadata=self._callers.user(user))).wallet
        balance = wallet.balances[0]
        return wallet.id, balance.posted, balance.held, balance.available

    async def verify(self) -> Sequence[str]:
        """Return what the service finds, and whether its trial balance is zero."""
        trial = await self._ledger.TrialBalance(ledger_service_pb2.TrialBalanceRequest(), metadata=self._callers.admin)
        findings = [f"total of {total.currency} is {total.total}" for total in trial.currencies if total.total]
        findings += [] if trial.balanced else ["the trial balance does not balance"]
        token, begun = "", False
        while token or not begun:
            request, begun = ledger_service_pb2.VerifyChainRequest(page_token=token), True
            response = await self._ledger.VerifyChain(request, metadata=self._callers.admin)
            findings += [f"{finding.resource}: {finding.description}" for finding in response.findings]
            token = response.next_page_token
        return findings

    async def made(self, call: Call, *, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
        """Send a call, once, and return the ID of what it made. Raises the error that it is answered."""
        amount, key, metadata = azr(call.amount), call.key, self._callers.user(call.user)
        match call.kind:
            case "earn":
                earn = pb.EarnRequest(user_id=call.user, amount=amount, reference=key, request_id=key)
                made = (
                    await self._payments.Earn(earn, metadata=self._callers.granting, timeout=timeout_seconds)
                ).transaction.id
            case "pay":
                pay = pb.CreatePaymentRequest(
                    type=payment_pb2.PAYMENT_TYPE_DONATION, amount=amount, request_id=key, description="Bread"
                )
                made = (await self._payments.CreatePayment(pay, metadata=metadata, timeout=timeout_seconds)).payment.id
            case "hold":
                hold = pb.CreateHoldRequest(amount=amount, request_id=key)
                made = (await self._payments.CreateHold(hold, metadata=metadata, timeout=timeout_seconds)).hold.id
            case "capture":
                capture = pb.CaptureHoldRequest(hold_id=call.target, request_id=key)
                made = (
                    await self._payments.CaptureHold(capture, metadata=metadata, timeout=timeout_seconds)
                ).payment.id
            case "release":
                release = pb.ReleaseHoldRequest(hold_id=call.target, request_id=key)
                made = (await self._payments.ReleaseHold(release, metadata=metadata, timeout=timeout_seconds)).hold.id
            case "transfer":
                ((recipient, minor),) = call.transfers
                transfer = pb.CreateTransferRequest(target_user_id=recipient, amount=azr(minor), request_id=key)
                made = (
                    await self._payments.CreateTransfer(transfer, metadata=metadata, timeout=timeout_seconds)
                ).transfer.id
            case "batch":
                transfers = [pb.BatchTransfer(target_user_id=user, amount=azr(minor)) for user, minor in call.transfers]
                batch = pb.BatchCreateTransfersRequest(transfers=transfers, request_id=key)
                made = (
                    await self._payments.BatchCreateTransfers(batch, metadata=metadata, timeout=timeout_seconds)
                ).batch_id
            case _:
                refund = pb.CreateRefundRequest(payment_id=call.target, amount=amount, request_id=key)
                made = (await self._payments.CreateRefund(refund, metadata=metadata, timeout=timeout_seconds)).refund.id
        return made


def refusal(error: aio.AioRpcError) -> Answer:
    """Return what an error says about what happened."""
    return Answer(refusal=UNKNOWN if error.code() in SAYS_NOTHING else described(error).reason)


class PersistentLedger(ApiLedger):
    """The same for callers that send a call again, under its key, until they know what happened."""

    async def send(self, call: Call) -> Answer:
        """Send a call until its outcome is known, for at most a minute."""
        answer = Answer(refusal=UNKNOWN)

        async def known() -> bool:
            nonlocal answer
            answer = await super(PersistentLedger, self).send(call)
            return answer.known

        waiting: Awaitable[bool] = eventually(known, within_seconds=60)
        await waiting
        return answer
