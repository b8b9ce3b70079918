"""Payment's composition root: everything is made here, once, and given to what needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from azora import client
from azora.payment.v1 import (
    internal_service_pb2,
    internal_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    payment_service_pb2,
    payment_service_pb2_grpc,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.payment.holds.operations import HoldOperations
from services.payment.holds.store import HoldStore
from services.payment.internal.servicer import InternalServicer
from services.payment.ledger.operations import Ledger, LedgerOperations
from services.payment.ledger.servicer import LedgerServicer
from services.payment.ledger.store import LedgerStore
from services.payment.payments import convert
from services.payment.payments.model import PaymentRefunded
from services.payment.payments.operations import Cashier, EarningOperations, PaymentOperations
from services.payment.payments.servicer import PaymentServicer
from services.payment.payments.store import PaymentStore
from services.payment.settings import PaymentSettings
from services.payment.wallets.operations import WalletOperations
from services.payment.wallets.servicer import WalletServicer
from services.payment.wallets.store import WalletStore
from services.shared import idempotency, retention
from services.shared.db import Database
from services.shared.idempotency import IdempotencyRecords
from services.shared.jobs import Worker
from services.shared.outbox import Outbox, deliveries, over_mesh
from services.shared.pagination import PageTokens
from services.shared.policy import role_permissions
from services.shared.server import Served, Server, connect_to_mesh, main
from services.shared.tokens import AccessTokens, RemoteKeys

if TYPE_CHECKING:
    from services.shared.outbox import Send
    from services.shared.tokens import KeySource

WALLETS = wallet_service_pb2.DESCRIPTOR.services_by_name["WalletService"]
PAYMENTS = payment_service_pb2.DESCRIPTOR.services_by_name["PaymentService"]
LEDGER = ledger_service_pb2.DESCRIPTOR.services_by_name["LedgerService"]
INTERNAL = internal_service_pb2.DESCRIPTOR.services_by_name["InternalService"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What Payment is made of, under its servicers."""

    database: Database
    records: IdempotencyRecords
    outbox: Outbox
    wallets: WalletOperations
    payments: PaymentOperations
    holds: HoldOperations
    earnings: EarningOperations
    ledger: LedgerOperations


def assemble(settings: PaymentSettings) -> Parts:
    """Return the parts, put together as the settings say."""
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    records = IdempotencyRecords(database)
    ledger_store, wallet_store, payment_store = LedgerStore(), WalletStore(), PaymentStore()
    ledger = Ledger(ledger_store)
    cashier = Cashier(payment_store, ledger, timedelta(days=settings.refund_window_days))
    outbox = Outbox("payment", {PaymentRefunded: convert.payment_refunded})
    wallets = WalletOperations(database, wallet_store, PageTokens(settings.derive_key("page-tokens")))
    return Parts(
        database=database,
        records=records,
        outbox=outbox,
        wallets=wallets,
        payments=PaymentOperations(
            database=database,
            records=records,
            store=payment_store,
            cashier=cashier,
            wallets=wallets,
            ledger=ledger,
            outbox=outbox,
        ),
        holds=HoldOperations(records=records, store=HoldStore(), cashier=cashier, wallets=wallets, ledger=ledger),
        earnings=EarningOperations(records=records, wallets=wallet_store, ledger=ledger),
        ledger=LedgerOperations(database, ledger_store),
    )


def build(settings: PaymentSettings, *, keys: KeySource | None = None, send: Send | None = None) -> Server:
    """Return the server of Payment. Tests give the keys that tokens are signed with, and take the events."""
    parts = assemble(settings)
    mesh = connect_to_mesh(settings)
    expiry = retention.expiry(
        parts.database,
        [
            idempotency.retention(timedelta(hours=settings.idempotency_retention_hours)),
            *retention.job_log(timedelta(days=settings.job_log_retention_days)),
        ],
    )
    worker = Worker(settings.database_url.get_secret_value(), jobs=[], periodic=[expiry])
    verifier = AccessTokens(
        keys or RemoteKeys(partial(client.signing_keys, mesh)),
        issuer=settings.issuer,
        audience=settings.audience,
        permissions=role_permissions(),
    )
    limiter = Limiter(scale=settings.rate_limit_scale, redis_url=settings.counters_url)
    return Server(
        settings=settings,
        guard=partial(chain, verifier=verifier, limiter=limiter),
        services=_served(parts),
        ready=parts.database.ready,
        background=[worker.run, *deliveries(parts.database, parts.outbox, send or over_mesh(mesh))],
        close=[limiter.close, parts.database.close, mesh.close],
    )


def _served(parts: Parts) -> list[Served]:
    return [
        Served(WALLETS, WalletServicer(parts.wallets), wallet_service_pb2_grpc.add_WalletServiceServicer_to_server),
        Served(
            PAYMENTS,
            PaymentServicer(parts.payments, parts.holds, parts.earnings),
            payment_service_pb2_grpc.add_PaymentServiceServicer_to_server,
        ),
        Served(LEDGER, LedgerServicer(parts.ledger), ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server),
        Served(
            INTERNAL, InternalServicer(parts.payments), internal_service_pb2_grpc.add_InternalServiceServicer_to_server
        ),
    ]


if __name__ == "__main__":
    main("payment", PaymentSettings, build)
