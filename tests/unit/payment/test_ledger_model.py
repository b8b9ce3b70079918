"""Accounts and their arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.payment.ledger.model import STRIPES, Account, AccountKey, AccountKind, CurrencyTotal, Leg
from services.shared.ids import new_id
from services.shared.money import INT64_MAX, INT64_MIN

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


def test_wallets_spread_over_the_stripes_of_a_system_account_and_each_keeps_its_own() -> None:
    wallet_ids = [new_id() for _ in range(500)]
    stripes = {AccountKey.system(AccountKind.TREASURY, wallet_id, "AZR") for wallet_id in wallet_ids}
    assert len(stripes) == STRIPES
    assert AccountKey.system(AccountKind.TREASURY, wallet_ids[0], "AZR") in stripes


def test_a_leg_moves_balance_hold_and_sequence() -> None:
    before = Account(WALLET, posted_minor=1000, held_minor=300, sequence=7)
    now = datetime.now(UTC)
    after = before.moved(Leg(WALLET, -200, -300), now)
    assert (after.posted_minor, after.held_minor, after.available_minor, after.sequence) == (800, 0, 800, 8)
    assert after.post_time == now
    assert before.holding(700).available_minor == 0


@pytest.mark.parametrize(("held", "covered"), [(0, True), (1000, True), (1001, False)])
def test_a_wallet_never_owes(held: int, *, covered: bool) -> None:
    assert Account(WALLET, posted_minor=1000, held_minor=held).covered is covered


def test_a_system_account_may_owe() -> None:
    treasury = AccountKey.system(AccountKind.TREASURY, new_id(), "AZR")
    assert Account(treasury, posted_minor=-1).covered


@pytest.mark.parametrize(
    ("posted", "countable"), [(INT64_MAX, True), (INT64_MAX + 1, False), (INT64_MIN, True), (INT64_MIN - 1, False)]
)
def test_balances_end_at_64_bits(posted: int, *, countable: bool) -> None:
    assert Account(WALLET, posted_minor=posted).countable is countable


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
