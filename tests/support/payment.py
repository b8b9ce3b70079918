"""A running Payment for tests: its real server on a unix socket, on a database of its own."""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from azora.client import Metadata, bearer
from azora.event.v1 import event_pb2
from azora.payment.v1 import (
    events_pb2,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    payment_pb2,
    payment_service_pb2_grpc,
    transfer_pb2,
    wallet_pb2,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)
from azora.payment.v1 import payment_service_pb2 as pb
from azora.type.v1 import money_pb2
from pydantic import SecretStr

from services.payment.app import Container, assemble, build
from services.payment.settings import PaymentSettings
from services.shared.errors import DependencyUnavailable, Refused
from services.shared.ids import new_id
from services.shared.settings import Environment
from tests.support.serving import Signer, channel_to, short_folder
from tests.support.sql import run_sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import asyncpg
    from google.protobuf.duration_pb2 import Duration
    from grpc import aio

    from services.payment.ports import Education


Watch: TypeAlias = (
    "aio.UnaryStreamCall[wallet_service_pb2.WatchTransactionsRequest, wallet_service_pb2.WatchTransactionsResponse]"
)
EDUCATION: Metadata = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/education"),)
"""What the gateway adds to a call of Education's."""


def azr(minor_units: int) -> money_pb2.Money:
    """Return an amount of AZR."""
    return money_pb2.Money(minor_units=minor_units, currency="AZR")


@dataclass(slots=True)
class FakeEducation:
    """Education in memory: closes what payments bought, takes events, or does not answer."""

    answers: bool = True
    """Whether events arrive."""
    received: list[event_pb2.Event] = field(default_factory=list)
    refused: int = 0
    silent: bool = False
    """Whether questions do not arrive."""
    lost: bool = False
    """Whether answers to questions do not come back."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is clear, answers are on their way."""
    refusals: dict[str, str] = field(default_factory=dict)
    """Reasons for which payers are refused, by payment."""
    verdicts: dict[str, str] = field(default_factory=dict)
    """What was answered, by refund: empty for a yes. The same refund is always answered alike."""
    asked: list[tuple[str, str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def close_enrollment(self, *, payment_id: str, refund_id: str, by_payer: bool) -> None:
        """Decide on a refund."""
        self.asked.append((payment_id, refund_id, by_payer))
        if self.silent:
            raise DependencyUnavailable(retry_after_seconds=1)
        refusal = self.refusals.get(payment_id, "") if by_payer else ""
        verdict = self.verdicts.setdefault(refund_id, refusal)
        await self.gate.wait()
        if self.lost:
            raise DependencyUnavailable(retry_after_seconds=1)
        if verdict:
            raise Refused(verdict, "FAILED_PRECONDITION")

    async def send(self, subscriber: str, events: Sequence[event_pb2.Event]) -> Sequence[event_pb2.Result]:
        """Keep the events."""
        assert subscriber == "education"
        if not self.answers:
            self.refused += 1
            raise DependencyUnavailable
        self.received += events
        return [event_pb2.Result(id=event.id) for event in events]

    def refunds(self) -> list[tuple[str, bool]]:
        """Return each refunded payment and whether nothing of it is left, in order of delivery."""
        messages = [events_pb2.PaymentRefunded.FromString(event.what.value) for event in self.received]
        return [(message.payment_id, message.in_full) for message in messages]


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in person and what they do with their money."""

    id: str
    metadata: Metadata
    payment: RunningPayment

    async def wallet(self) -> wallet_pb2.Wallet:
        """Read the wallet."""
        request = wallet_service_pb2.GetWalletRequest()
        return (await self.payment.wallets.GetWallet(request, metadata=self.metadata)).wallet

    async def balance(self) -> tuple[int, int, int]:
        """Return what is posted, held and available of AZR."""
        balance = (await self.wallet()).balances[0]
        return balance.posted, balance.held, balance.available

    async def pay(
        self,
        minor_units: int,
        *,
        key: str = "",
        kind: payment_pb2.PaymentType.ValueType = payment_pb2.PAYMENT_TYPE_DONATION,
    ) -> payment_pb2.Payment:
        """Pay from the wallet."""
        request = pb.CreatePaymentRequest(type=kind, amount=azr(minor_units), request_id=key)
        return (await self.payment.payments.CreatePayment(request, metadata=self.metadata)).payment

    async def transfer(
        self, target: Person, minor_units: int, *, key: str = "", **fields: Any
    ) -> transfer_pb2.Transfer:
        """Transfer to another person."""
        request = pb.CreateTransferRequest(target_user_id=target.id, amount=azr(minor_units), request_id=key, **fields)
        return (await self.payment.payments.CreateTransfer(request, metadata=self.metadata)).transfer

    async def read_transfer(self, transfer_id: str) -> transfer_pb2.Transfer:
        """Read a transfer."""
        request = pb.GetTransferRequest(transfer_id=transfer_id)
        return (await self.payment.payments.GetTransfer(request, metadata=self.metadata)).transfer

    async def transfer_to_many(
        self, *targets: tuple[Person, int], key: str = "", partial: bool = False, **fields: Any
    ) -> Sequence[transfer_pb2.TransferResult]:
        """Transfer to others in a batch."""
        transfers = [pb.BatchTransfer(target_user_id=target.id, amount=azr(minor)) for target, minor in targets]
        request = pb.BatchCreateTransfersRequest(
            transfers=transfers, return_partial_success=partial, request_id=key, **fields
        )
        return (await self.payment.payments.BatchCreateTransfers(request, metadata=self.metadata)).results

    async def refund(
        self, payment_id: str, amount: money_pb2.Money | None = None, *, key: str = ""
    ) -> payment_pb2.Refund:
        """Ask for a refund."""
        request = pb.CreateRefundRequest(payment_id=payment_id, amount=amount, request_id=key, reason="changed my mind")
        return (await self.payment.payments.CreateRefund(request, metadata=self.metadata)).refund

    async def read_refund(self, refund_id: str) -> payment_pb2.Refund:
        """Read a refund."""
        request = pb.GetRefundRequest(refund_id=refund_id)
        return (await self.payment.payments.GetRefund(request, metadata=self.metadata)).refund

    async def buy(self, minor_units: int) -> payment_pb2.Payment:
        """Buy a course: Education holds its price and captures it."""
        create = pb.CreateHoldRequest(
            amount=azr(minor_units),
            user_id=self.id,
            type=payment_pb2.PAYMENT_TYPE_ENROLLMENT,
            course_id=new_id(),
            request_id=new_id(),
        )
        held = (await self.payment.payments.CreateHold(create, metadata=EDUCATION)).hold
        capture = pb.CaptureHoldRequest(hold_id=held.id, user_id=self.id, request_id=new_id())
        return (await self.payment.payments.CaptureHold(capture, metadata=EDUCATION)).payment

    async def read(self, payment_id: str) -> payment_pb2.Payment:
        """Read a payment."""
        request = pb.GetPaymentRequest(payment_id=payment_id)
        return (await self.payment.payments.GetPayment(request, metadata=self.metadata)).payment

    async def hold(self, minor_units: int, *, key: str = "", expire_after: Duration | None = None) -> payment_pb2.Hold:
        """Set money aside."""
        request = pb.CreateHoldRequest(amount=azr(minor_units), expire_after=expire_after, request_id=key)
        return (await self.payment.payments.CreateHold(request, metadata=self.metadata)).hold

    async def capture(
        self, hold_id: str, amount: money_pb2.Money | None = None, *, key: str = ""
    ) -> pb.CaptureHoldResponse:
        """Take a hold."""
        request = pb.CaptureHoldRequest(hold_id=hold_id, amount=amount, request_id=key)
        return await self.payment.payments.CaptureHold(request, metadata=self.metadata)

    async def release(self, hold_id: str, *, key: str = "") -> payment_pb2.Hold:
        """Give a hold back."""
        request = pb.ReleaseHoldRequest(hold_id=hold_id, request_id=key)
        return (await self.payment.payments.ReleaseHold(request, metadata=self.metadata)).hold

    async def transactions(
        self, *, page_size: int = 0, page_token: str = "", currency: str = "", **filters: Any
    ) -> wallet_service_pb2.ListTransactionsResponse:
        """List a page of movements."""
        request = wallet_service_pb2.ListTransactionsRequest(
            page_size=page_size, page_token=page_token, currency=currency, **filters
        )
        return await self.payment.wallets.ListTransactions(request, metadata=self.metadata)

    def watch(self, after_sequence: int | None = None) -> Watch:
        """Watch the movements of AZR."""
        request = wallet_service_pb2.WatchTransactionsRequest(after_sequence=after_sequence)
        return self.payment.wallets.WatchTransactions(request, metadata=self.metadata)


@dataclass(frozen=True, slots=True)
class RunningPayment:
    """Its stubs, and its database under the eyes of either role."""

    target: str
    channel: aio.Channel
    signer: Signer
    education: FakeEducation
    replica: Container
    """The operations of a second replica."""
    app_url: str
    owner_url: str

    @property
    def payments(self) -> payment_service_pb2_grpc.PaymentServiceAsyncStub:
        """Return the stub of PaymentService."""
        return payment_service_pb2_grpc.PaymentServiceStub(self.channel)

    @property
    def wallets(self) -> wallet_service_pb2_grpc.WalletServiceAsyncStub:
        """Return the stub of WalletService."""
        return wallet_service_pb2_grpc.WalletServiceStub(self.channel)

    def person(self, role: str = "ROLE_STUDENT", **claims: Any) -> Person:
        """Return a new person, without a wallet; their token states these claims, too."""
        user_id = new_id()
        return Person(user_id, bearer(self.signer.token(user_id, role, **claims)), self)

    def admin(self) -> Person:
        """Return a new administrator."""
        return self.person("ROLE_ADMIN")

    async def rich(self, minor_units: int = 100_000) -> Person:
        """Return a new person who has earned this much."""
        person = self.person()
        await self.earn(person, minor_units)
        return person

    async def earn(
        self,
        person: Person,
        minor_units: int,
        *,
        reference: str = "",
        key: str = "",
        description: str = "",
        metadata: Metadata = EDUCATION,
    ) -> wallet_pb2.Transaction:
        """Let a person earn, as Education does, or as whose metadata it is."""
        request = pb.EarnRequest(
            user_id=person.id,
            amount=azr(minor_units),
            reference=reference or new_id(),
            description=description,
            request_id=key or new_id(),
        )
        return (await self.payments.Earn(request, metadata=metadata)).transaction

    async def trial_balance(self) -> ledger_service_pb2.TrialBalanceResponse:
        """Read the trial balance, as an administrator."""
        stub = ledger_service_pb2_grpc.LedgerServiceStub(self.channel)
        return await stub.TrialBalance(ledger_service_pb2.TrialBalanceRequest(), metadata=self.admin().metadata)

    async def sql(self, statement: str, *arguments: object, app: bool = False) -> list[asyncpg.Record]:
        """Run a statement as the database's owner, or as the running service does."""
        return await run_sql(self.app_url if app else self.owner_url, statement, *arguments)


@asynccontextmanager
async def running_payment(
    app_url: str,
    owner_url: str,
    *,
    mesh_target: str = "",
    signer: Signer | None = None,
    education: Education | None = None,
    settle_after_seconds: float = 600,
    **changes: Any,
) -> AsyncIterator[RunningPayment]:
    """Serve Payment on a database, without limits; give its stubs. `changes` are of its settings.

    With a `mesh_target` it asks the Auth and the Education that are there; without, the signer itself, and the given
    Education or a stand-in.
    """
    signer, fake = signer or Signer(), FakeEducation()
    async with short_folder() as folder:
        values: dict[str, Any] = {
            "env": Environment.DEVELOPMENT,
            "listen": f"unix:{folder}/payment.sock",
            "mesh_target": mesh_target or f"unix:{folder}/mesh.sock",
            "database_url": SecretStr(app_url),
            "secret_key": SecretStr(base64.b64encode(os.urandom(32)).decode()),
            "rate_limit_scale": 10_000,
            "drain_seconds": 0,
            "refund_settle_after_seconds": settle_after_seconds,
        }
        settings = PaymentSettings(**values | changes)
        server = (
            build(settings)
            if mesh_target
            else build(settings, keys=signer, revocations=signer, education=education or fake, send=fake.send)
        )
        replica = assemble(settings, education=education or fake)
        await server.start()
        try:
            async with channel_to(settings.listen) as channel:
                yield RunningPayment(settings.listen, channel, signer, fake, replica, app_url, owner_url)
        finally:
            await server.stop()
            await replica.infrastructure.close()
