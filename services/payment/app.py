"""Payment's composition root: everything is made here, once, and given to what needs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

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
from services.payment.wallets.operations import WalletOperations
from services.payment.wallets.servicer import WalletServicer
from services.payment.wallets.store import WalletStore
from services.shared.assembly import Infrastructure
from services.shared.outbox import Outbox

if TYPE_CHECKING:
    from services.payment.settings import PaymentSettings
    from services.shared.outbox import Send
    from services.shared.server import Server
    from services.shared.tokens import KeySource


@dataclass(frozen=True, slots=True)
class Container:
    """Payment's operations over their infrastructure."""

    infrastructure: Infrastructure[PaymentSettings]
    outbox: Outbox
    wallets: WalletOperations
    payments: PaymentOperations
    holds: HoldOperations
    earnings: EarningOperations
    ledger: LedgerOperations


def assemble(settings: PaymentSettings) -> Container:
    """Return the operations."""
    infrastructure = Infrastructure.of(settings)
    database, records = infrastructure.database, infrastructure.records
    ledger_store, wallet_store, payment_store = LedgerStore(), WalletStore(), PaymentStore()
    ledger = Ledger(ledger_store)
    cashier = Cashier(payment_store, ledger, timedelta(days=settings.refund_window_days))
    outbox = Outbox("payment", {PaymentRefunded: convert.payment_refunded})
    wallets = WalletOperations(database, wallet_store, infrastructure.pages)
    return Container(
        infrastructure=infrastructure,
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
    """Return Payment's server. Tests give the keys that tokens are signed with, and take the events."""
    container = assemble(settings)
    return container.infrastructure.server(
        WalletServicer(container.wallets),
        PaymentServicer(container.payments, container.holds, container.earnings),
        LedgerServicer(container.ledger),
        InternalServicer(container.payments),
        outbox=container.outbox,
        send=send,
        keys=keys,
    )
