"""Payment's composition root: everything is made here, once, and given to what needs it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.payment.audit import store as audit_store
from services.payment.clients import EducationClient
from services.payment.erasures.operations import ErasureOperations
from services.payment.erasures.store import THEIR_ANSWERS, WebhookErasureStore
from services.payment.holds.operations import HoldOperations
from services.payment.holds.store import HOLDS, HoldStore
from services.payment.ledger.debits import VelocityLimits
from services.payment.ledger.operations import LedgerOperations
from services.payment.ledger.store import LedgerStore
from services.payment.ledger.writer import Writer
from services.payment.payments import convert, jobs
from services.payment.payments.model import PaymentCompleted, PaymentRefunded, Refund
from services.payment.payments.operations import EarningOperations, PaymentOperations, RefundOperations
from services.payment.payments.servicer import PaymentServicer
from services.payment.payments.store import CAPTURED, PAYMENTS, REFUNDS, SUBSCRIPTIONS, PaymentStore
from services.payment.proofs import jobs as proof_jobs
from services.payment.proofs.operations import CheckpointOperations, VerificationOperations
from services.payment.proofs.publication import CheckpointFile
from services.payment.proofs.servicer import LedgerServicer
from services.payment.proofs.store import ProofStore
from services.payment.transactions.operations import TransactionOperations
from services.payment.transactions.store import TransactionStore
from services.payment.transfers.commands import TransferLimits
from services.payment.transfers.convert import transfer_completed
from services.payment.transfers.model import TransferCompleted
from services.payment.transfers.operations import TransferOperations
from services.payment.transfers.store import TARGET_WALLETS, TransferStore
from services.payment.wallets import convert as wallet_convert
from services.payment.wallets import jobs as wallet_jobs
from services.payment.wallets.internal_servicer import InternalServicer
from services.payment.wallets.model import WalletStateChanged
from services.payment.wallets.operations import WalletOperations
from services.payment.wallets.servicer import WalletServicer
from services.payment.wallets.store import STATE_CHANGES, WALLETS, WalletStore
from services.payment.webhooks import jobs as webhook_jobs
from services.payment.webhooks.operations import DeliveryOperations, WebhookOperations
from services.payment.webhooks.servicer import WebhookServicer
from services.payment.webhooks.store import DeliveryStore, WebhookStore
from services.shared.assembly import Infrastructure
from services.shared.audit.store import AuditStore
from services.shared.encryption import Encryption
from services.shared.inbox import Inbox
from services.shared.keyed_answers import KeyedAnswers
from services.shared.outbound_http import AddressPolicy, OutboundHttp
from services.shared.outbox import Outbox
from services.shared.personal_data import PersonOperations, UndeliveredEvents, UnfinishedJobs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from services.payment.ports import Education
    from services.payment.settings import PaymentSettings
    from services.shared.db import Database
    from services.shared.outbox import Send
    from services.shared.revocations import RevocationSource
    from services.shared.server import Server
    from services.shared.tokens import KeySource


CALLERS_FOR_USERS = ("education",)
"""Services that may act for a user, as the contract declares."""
KINDS = (HOLDS, PAYMENTS, CAPTURED, REFUNDS, TARGET_WALLETS, WALLETS, STATE_CHANGES, SUBSCRIPTIONS, *audit_store.KINDS)
"""The rows that commands of the ledger read and write."""
EVENTS: Mapping[type, Callable[[Any], Message]] = {
    PaymentCompleted: convert.payment_completed,
    PaymentRefunded: convert.payment_refunded,
    TransferCompleted: transfer_completed,
    WalletStateChanged: wallet_convert.wallet_state_changed,
}
"""The encoders of the events that Payment publishes."""


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Webhooks' operations, and what sends."""

    operations: WebhookOperations
    deliveries: DeliveryOperations
    sender: webhook_jobs.WebhookSender
    http: OutboundHttp


@dataclass(frozen=True, slots=True)
class Container:
    """Payment's operations over their infrastructure."""

    infrastructure: Infrastructure[PaymentSettings]
    wallets: WalletOperations
    transactions: TransactionOperations
    payments: PaymentOperations
    transfers: TransferOperations
    refunds: RefundOperations
    outbox: Outbox
    inbox: Inbox
    holds: HoldOperations
    earnings: EarningOperations
    ledger: LedgerOperations
    verification: VerificationOperations
    checkpoints: CheckpointOperations
    webhooks: Webhooks
    persons: PersonOperations


def assemble(settings: PaymentSettings, *, education: Education | None = None) -> Container:
    """Return the operations. Tests give an Education."""
    infrastructure = Infrastructure.of(settings)
    database = infrastructure.database
    webhooks = _webhooks(infrastructure)
    outbox = Outbox("payment", EVENTS, webhooks=webhook_jobs.consumer(webhooks.deliveries))
    limits = _limits(settings)
    payment_store, proof_store = PaymentStore(), ProofStore()
    writer = Writer(database, KINDS, outbox)
    wallets = WalletOperations(database=database, store=WalletStore(), writer=writer, refunds=Refund)
    refunds = RefundOperations(
        database=database,
        store=payment_store,
        writer=writer,
        education=education or EducationClient(infrastructure.mesh),
        settle_after=timedelta(seconds=settings.refund_settle_after_seconds),
    )
    infrastructure.metrics.gauge(
        "azora_ledger_waiting", "Commands waiting for the ledger's writer.", lambda: writer.waiting
    )
    infrastructure.metrics.gauges(
        "azora_webhook_deliveries",
        "Deliveries still to be sent to enabled webhooks, counted in the database.",
        {"due": "due", "deferred": "deferred"},
        webhooks.deliveries.count_pending,
    )
    return Container(
        infrastructure=infrastructure,
        wallets=wallets,
        transactions=TransactionOperations(
            database=database,
            store=TransactionStore(),
            pages=infrastructure.pages,
            max_watchers=settings.max_watchers,
            max_watchers_per_user=settings.max_watchers_per_user,
        ),
        payments=PaymentOperations(
            database=database,
            store=payment_store,
            writer=writer,
            refund_window=timedelta(days=settings.refund_window_days),
            limits=limits.limits,
        ),
        transfers=TransferOperations(
            database=database,
            store=TransferStore(),
            writer=writer,
            limits=limits,
            require_verified_email=settings.requires_verified_email,
        ),
        refunds=refunds,
        outbox=outbox,
        inbox=Inbox("payment", database, wallet_jobs.subscriptions(wallets)),
        holds=HoldOperations(writer=writer, limits=limits.limits),
        earnings=EarningOperations(writer=writer),
        ledger=LedgerOperations(database=database, store=LedgerStore()),
        verification=VerificationOperations(database=database, store=proof_store, pages=infrastructure.pages),
        checkpoints=CheckpointOperations(
            database=database,
            store=proof_store,
            pages=infrastructure.pages,
            encryption=Encryption(settings.derive_keys("checkpoint-keys")),
            origin=f"{urlsplit(settings.public_url).netloc}/payment/ledger",
            key_lifetime=timedelta(days=settings.checkpoint_key_days),
            file=CheckpointFile(settings.checkpoint_file) if settings.checkpoint_file else None,
        ),
        webhooks=webhooks,
        persons=_persons(database, writer, payment_store, refunds),
    )


def _persons(database: Database, writer: Writer, payments: PaymentStore, refunds: RefundOperations) -> PersonOperations:
    wallets, holds = WalletStore(), HoldStore()
    erasures = ErasureOperations(
        database=database, writer=writer, wallets=wallets, holds=holds, payments=payments, refunds=refunds, kind=Refund
    )
    answers = KeyedAnswers(callers=CALLERS_FOR_USERS, others=THEIR_ANSWERS)
    kept = (wallets, payments, holds, TransactionStore(), WebhookErasureStore())
    return PersonOperations(
        database=database,
        endings=[erasures.end_person],
        resources=[UnfinishedJobs(), UndeliveredEvents(), *kept, AuditStore(), answers],
    )


def _limits(settings: PaymentSettings) -> TransferLimits:
    scale, new_wallets = settings.rate_limit_scale, settings.new_wallets_transfer
    return TransferLimits(
        VelocityLimits(
            window=timedelta(hours=settings.velocity_window_hours),
            max_amount=max(1, int(settings.velocity_max_amount * scale)),
            max_count=max(1, int(settings.velocity_max_debits * scale)),
        ),
        new_wallet_age=timedelta(days=settings.new_wallet_days),
        new_wallet_max_amount=None if new_wallets is None else int(new_wallets * scale),
    )


def _webhooks(infrastructure: Infrastructure[PaymentSettings]) -> Webhooks:
    settings, database = infrastructure.settings, infrastructure.database
    store, delivery_store, wake = WebhookStore(), DeliveryStore(), asyncio.Event()
    encryption = Encryption(settings.derive_keys("webhook-secrets"))
    addresses = AddressPolicy(settings.webhook_networks)
    http = OutboundHttp(addresses, timeout_seconds=settings.webhook_timeout_seconds)
    deliveries = DeliveryOperations(
        database=database,
        webhooks=store,
        store=delivery_store,
        encryption=encryption,
        http=http,
        disable_after=timedelta(days=settings.webhook_disable_after_days),
        wake=wake,
    )
    operations = WebhookOperations(
        database=database,
        store=store,
        deliveries=delivery_store,
        pages=infrastructure.pages,
        encryption=encryption,
        addresses=addresses,
        wake=wake,
    )
    return Webhooks(operations, deliveries, webhook_jobs.WebhookSender(deliveries, wake), http)


def build(
    settings: PaymentSettings,
    *,
    keys: KeySource | None = None,
    revocations: RevocationSource | None = None,
    education: Education | None = None,
    send: Send | None = None,
) -> Server:
    """Return Payment's server. Tests give the keys of tokens, what revokes them, an Education, and take the events."""
    container = assemble(settings, education=education)
    webhooks = container.webhooks
    return container.infrastructure.server(
        WalletServicer(wallets=container.wallets, transactions=container.transactions),
        PaymentServicer(
            payments=container.payments,
            transfers=container.transfers,
            refunds=container.refunds,
            holds=container.holds,
            earnings=container.earnings,
        ),
        LedgerServicer(ledger=container.ledger, verification=container.verification, checkpoints=container.checkpoints),
        InternalServicer(
            container.inbox,
            container.persons,
            container.wallets,
            container.infrastructure.audit_operations,
            container.infrastructure.background_work,
        ),
        WebhookServicer(webhooks.operations),
        jobs=jobs.jobs(container.refunds),
        periodic=[
            *jobs.periodic(container.refunds),
            *proof_jobs.periodic(container.checkpoints),
            *webhook_jobs.periodic(webhooks.deliveries),
        ],
        retentions=webhook_jobs.retentions(timedelta(days=settings.webhook_delivery_retention_days)),
        background=[webhooks.sender.run],
        close=[webhooks.http.close],
        watchers=[container.transactions.watchers],
        outbox=container.outbox,
        send=send,
        keys=keys,
        revocations=revocations,
    )
