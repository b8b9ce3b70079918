"""Accounts and their identity."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.payment.ledger.model import STRIPES, Account, AccountKey, AccountKind, CurrencyTotal
from services.shared.ids import new_id

WALLET = AccountKey.wallet(new_id(), "AZR")


def test_the_same_account_always_has_the_same_id_and_no_other_has_it() -> None:
    keys = [
        AccountKey(kind, owner, currency)
        for kind in AccountKind
        for owner in (new_id(), new_id())
        for currency in ("AZR", "ZAR")
    ]
    assert len({key.id for key in keys}) == len(keys)
    first = keys[0]
    assert AccountKey(first.kind, first.owner_id, first.currency).id == first.id
    assert str(UUID(first.id)) == first.id


def test_a_system_account_has_an_account_for_each_stripe() -> None:
    stripes = [AccountKey.system(AccountKind.TREASURY, stripe, "AZR") for stripe in range(STRIPES)]
    assert [key.stripe for key in stripes] == list(range(STRIPES))
    assert len({key.id for key in stripes}) == STRIPES
    assert WALLET.stripe is None


def test_available_is_what_is_posted_less_what_is_held() -> None:
    assert Account(WALLET, posted_minor=1000, held_minor=300).available_minor == 700


@pytest.mark.parametrize(
    ("total", "balanced"),
    [
        (CurrencyTotal("AZR", 5, 5, agrees=True), True),
        (CurrencyTotal("AZR", 5, 6, agrees=True), False),
        (CurrencyTotal("AZR", 5, 5, agrees=False), False),
    ],
)
def test_what_balanced_means(total: CurrencyTotal, *, balanced: bool) -> None:
    assert total.balanced is balanced
