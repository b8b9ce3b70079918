"""Payments and what is left of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import payment_pb2, wallet_pb2

from services.payment.holds.model import HoldState, Order, PaymentType
from services.payment.ledger.model import AccountKind, AccountState, TransactionType
from services.payment.payments.model import Payment, PaymentState, RefundState
from services.payment.wallets.model import Balance, Payer
from services.shared.ids import new_id
from services.shared.money import Money

if TYPE_CHECKING:
    from enum import StrEnum

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("refunded", "pending", "state", "left"),
    [
        (0, 0, PaymentState.COMPLETED, 500),
        (0, 500, PaymentState.COMPLETED, 0),
        (1, 0, PaymentState.PARTIALLY_REFUNDED, 499),
        (1, 499, PaymentState.PARTIALLY_REFUNDED, 0),
        (499, 0, PaymentState.PARTIALLY_REFUNDED, 1),
        (500, 0, PaymentState.REFUNDED, 0),
    ],
)
def test_the_state_follows_from_what_was_refunded(refunded: int, pending: int, state: PaymentState, left: int) -> None:
    payment = Payment(
        id=new_id(),
        payer=Payer(new_id(), new_id()),
        order=Order(PaymentType.DONATION, Money(500)),
        creator="",
        refunded_minor=refunded,
        pending_minor=pending,
        refundable_until=NOW,
        create_time=NOW,
    )
    assert (payment.state, payment.refundable) == (state, Money(left))


def test_an_order_goes_from_the_payers_account_to_that_of_its_type() -> None:
    payer, order = Payer(new_id(), new_id()), Order(PaymentType.SUBSCRIPTION, Money(5, "ZAR"))
    source = order.source(payer)
    assert (source.kind, source.owner_id, source.currency) == (AccountKind.WALLET, payer.wallet_id, "ZAR")
    assert order.type.destination is AccountKind.REVENUE


def test_available_is_what_is_posted_less_what_is_held() -> None:
    assert Balance("AZR", 10, 4).available_minor == 6


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (PaymentType, payment_pb2.PaymentType.keys()),
        (PaymentState, payment_pb2.PaymentState.keys()),
        (RefundState, payment_pb2.RefundState.keys()),
        (HoldState, payment_pb2.HoldState.keys()),
        (TransactionType, wallet_pb2.TransactionType.keys()),
        (AccountState, wallet_pb2.WalletState.keys()),
    ],
)
def test_the_model_and_the_contract_have_the_same_values(names: type[StrEnum], values: list[str]) -> None:
    unspecified, *declared = values
    prefix = unspecified.removesuffix("UNSPECIFIED")
    assert [prefix + name for name in names.__members__] == declared
