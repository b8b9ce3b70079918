"""Wallets that administrators freeze and close, as callers and Education meet them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from azora.payment.v1 import events_pb2, wallet_pb2
from azora.payment.v1 import wallet_service_pb2 as pb

from services.payment.ledger.model import AccountState
from services.payment.wallets.commands import ChangeWalletState
from services.shared.ids import new_id
from services.shared.policy import role_permissions
from tests.support.payment import EDUCATION, Person, RunningPayment, azr
from tests.support.refusals import outcome, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = pytest.mark.shared

ACTIVE, FROZEN, CLOSED = wallet_pb2.WALLET_STATE_ACTIVE, wallet_pb2.WALLET_STATE_FROZEN, wallet_pb2.WALLET_STATE_CLOSED
MANAGE = "PERMISSION_WALLETS_MANAGE"
VERBS = ["Freeze", "Unfreeze", "Close"]


def change(who: Person, verb: str, wallet_id: str, *, etag: str = "", key: str = "", reason: str = "why") -> Any:
    """Call FreezeWallet, UnfreezeWallet or CloseWallet."""
    request = getattr(pb, f"{verb}WalletRequest")(wallet_id=wallet_id, reason=reason, etag=etag, request_id=key)
    return getattr(who.payment.wallets, f"{verb}Wallet")(request, metadata=who.metadata)


def read(who: Person, wallet_id: str) -> Awaitable[pb.GetWalletResponse]:
    """Read a wallet by its ID."""
    return who.payment.wallets.GetWallet(pb.GetWalletRequest(wallet_id=wallet_id), metadata=who.metadata)


async def spent(person: Person) -> str:
    """Spend all that a person has; return the wallet's ID."""
    posted, *_ = await person.balance()
    await person.pay(posted)
    return (await person.wallet()).id


async def test_administrators_freeze_and_unfreeze(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    before = await person.wallet()
    assert (before.user_id, before.state) == (person.id, ACTIVE)

    frozen = (await change(admin, "Freeze", before.id, reason="a complaint")).wallet

    assert (frozen.id, frozen.state, frozen.balances) == (before.id, FROZEN, before.balances)
    assert (frozen.last_state_change.actor_id, frozen.last_state_change.reason) == (admin.id, "a complaint")
    assert frozen.last_state_change.state == FROZEN
    assert (await read(admin, before.id)).wallet == frozen
    own = await person.wallet()
    assert (own.state, own.etag) == (FROZEN, frozen.etag)
    assert not own.HasField("last_state_change"), "the reason is the administrators'"
    for attempt in (person.pay(1), person.hold(1), person.pay(2000)):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WALLET_FROZEN")
    await payment.earn(person, 5)
    assert (await change(admin, "Unfreeze", before.id)).wallet.state == ACTIVE
    await person.pay(1005)


@pytest.mark.own
async def test_a_change_is_one_row_one_event_and_one_answer_for_its_key(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    wallet_id = (await person.wallet()).id
    first = await change(admin, "Freeze", wallet_id, key="k")
    await change(admin, "Unfreeze", wallet_id)
    assert await change(admin, "Freeze", wallet_id, key="k") == first, "a retry does not freeze again"
    assert (await person.wallet()).state == ACTIVE
    await change(admin, "Unfreeze", wallet_id)
    rows = await payment.sql(
        "SELECT sequence, state, actor_id::text, reason FROM wallet_state_changes ORDER BY sequence"
    )
    assert [tuple(row) for row in rows] == [(1, "FROZEN", admin.id, "why"), (2, "ACTIVE", admin.id, "why")]


async def test_a_change_of_state_is_an_event(payment: RunningPayment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody subscribes to it yet; so a subscriber is made up."""
    replica = payment.replica
    monkeypatch.setitem(replica.outbox._subscribers, "azora.payment.v1.WalletStateChanged", ("education",))
    person, admin = await payment.rich(1000), payment.admin()
    wallet = await person.wallet()
    payment.education.answers = False
    command = ChangeWalletState(wallet.id, AccountState.FROZEN, admin.id, "why", "")
    await replica.wallets._writer.run(command)
    (row,) = await payment.sql("SELECT type, payload FROM outbox")
    told = events_pb2.WalletStateChanged.FromString(row["payload"])
    assert (told.wallet_id, told.user_id, told.state) == (wallet.id, person.id, FROZEN)
    assert told.HasField("change_time")


async def test_only_an_empty_wallet_is_closed(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    wallet_id = (await person.wallet()).id
    await person.hold(400)
    for _ in range(2):
        refused = await refusal(change(admin, "Close", wallet_id, key="k"))
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WALLET_NOT_EMPTY")
        assert refused.metadata == {"currency": "AZR"}
    await person.pay(600)
    assert (await refusal(change(admin, "Close", wallet_id))).reason == "WALLET_NOT_EMPTY"
    assert (await person.wallet()).state == ACTIVE


async def test_a_wallet_with_a_refund_pending_is_not_closed(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    paid = await person.buy(1000)
    wallet_id = (await person.wallet()).id
    payment.education.silent = True
    assert (await refusal(person.refund(paid.id, key="k"))).code == "UNAVAILABLE"
    refused = await refusal(change(admin, "Close", wallet_id, key="c"))
    (row,) = await payment.sql("SELECT id::text FROM refunds")
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WALLET_REFUND_PENDING")
    assert refused.metadata == {"refundId": row["id"]}
    await change(admin, "Freeze", wallet_id)
    payment.education.silent = False
    await person.refund(paid.id, key="k")
    assert await person.balance() == (1000, 0, 1000), "a frozen wallet is credited after Education's yes"
    assert (await refusal(change(admin, "Close", wallet_id, key="c"))).reason == "WALLET_NOT_EMPTY"


@pytest.mark.own
async def test_a_closed_wallet_takes_and_gives_nothing(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    course, gift = await person.buy(300), await person.pay(200)
    earned = await payment.earn(person, 5, reference="before")
    wallet_id = await spent(person)
    closed = (await change(admin, "Close", wallet_id, reason="she left")).wallet
    assert (closed.state, closed.last_state_change.reason) == (CLOSED, "she left")

    for attempt in (
        person.pay(1),
        person.hold(1),
        payment.earn(person, 1),
        person.refund(gift.id),
        person.refund(course.id),
        admin.refund(gift.id, azr(1)),
        admin.refund(course.id),
        change(admin, "Freeze", wallet_id),
        change(admin, "Unfreeze", wallet_id),
    ):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WALLET_CLOSED")
    assert payment.education.asked == [], "nothing was taken back"
    assert await payment.earn(person, 5, reference="before") == earned
    assert (await change(admin, "Close", wallet_id)).wallet == closed
    assert (await person.wallet()).state == CLOSED
    assert len((await person.transactions()).transactions) == 5
    assert (await payment.trial_balance()).balanced


async def test_an_etag_is_for_one_state_of_the_wallet(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    seen = await person.wallet()
    assert (await person.wallet()).etag == seen.etag != ""
    held = await person.hold(10)
    assert (await person.wallet()).etag != seen.etag
    await person.release(held.id)
    assert (await person.wallet()).etag == seen.etag, "it is what it was"
    await person.pay(1)
    refused = await refusal(change(admin, "Freeze", seen.id, etag=seen.etag, key="k"))
    assert (refused.code, refused.reason) == ("ABORTED", "ETAG_MISMATCH")
    current = (await person.wallet()).etag
    assert (await change(admin, "Freeze", seen.id, etag=current)).wallet.state == FROZEN


async def test_a_wallet_of_another_is_not_there(payment: RunningPayment) -> None:
    person, other, admin = await payment.rich(1000), await payment.rich(1000), payment.admin()
    wallet_id = (await person.wallet()).id
    assert (await read(person, wallet_id)).wallet == await person.wallet()
    for attempt in (read(other, wallet_id), read(other, new_id()), read(admin, new_id())):
        refused = await refusal(attempt)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "WALLET_NOT_FOUND")
    for verb in VERBS:
        refused = await refusal(change(admin, verb, new_id()))
        assert (refused.code, refused.reason) == ("NOT_FOUND", "WALLET_NOT_FOUND")
    assert (await refusal(read(admin, "1"))).fields == ("walletId",)


@pytest.mark.parametrize("verb", VERBS)
async def test_states_are_changed_by_administrators(payment: RunningPayment, verb: str) -> None:
    person = await payment.rich(1000)
    wallet_id = (await person.wallet()).id
    permissions = role_permissions()
    for role, allowed in permissions.items():
        answered = await outcome(change(payment.person(role), verb, new_id()))
        assert answered == ("WALLET_NOT_FOUND" if MANAGE in allowed else "ACCESS_DENIED"), role
    assert {role for role, allowed in permissions.items() if MANAGE in allowed} == {"ROLE_ADMIN"}
    assert await outcome(change(person, verb, wallet_id)) == "ACCESS_DENIED", "not one's own either"
    request = getattr(pb, f"{verb}WalletRequest")(wallet_id=wallet_id, reason="why")
    call = getattr(payment.wallets, f"{verb}Wallet")
    assert await outcome(call(request)) == "TOKEN_MISSING"
    assert await outcome(call(request, metadata=EDUCATION)) == "ACCESS_DENIED"


@pytest.mark.parametrize("verb", VERBS)
async def test_a_reason_is_required(payment: RunningPayment, verb: str) -> None:
    admin = payment.admin()
    for reason in ("", "x" * 501):
        assert (await refusal(change(admin, verb, new_id(), reason=reason))).fields == ("reason",)
    assert (await refusal(change(admin, verb, "x"))).fields == ("walletId",)


CHANGES = "INSERT INTO wallet_state_changes SELECT id, revision + 1, $1, id, '', now() FROM wallets"


async def test_the_service_cannot_forge_a_state(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    for forged in (
        "UPDATE wallets SET state = 'FROZEN'",
        "UPDATE wallets SET state = 'FROZEN', revision = revision + 1",
        "UPDATE wallets SET revision = revision + 1",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await payment.sql(forged, app=True)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await payment.sql("UPDATE accounts SET state = 'ACTIVE'", app=True)
    close = "WITH change AS ({}) UPDATE wallets SET state = 'CLOSED', revision = revision + 1"
    with pytest.raises(asyncpg.SerializationError):
        await payment.sql(close.format(CHANGES.replace("$1", "'CLOSED'")), app=True)
    with pytest.raises(asyncpg.CheckViolationError):
        await payment.sql("UPDATE wallets SET state = 'CLOSED'")
    await change(admin, "Close", await spent(person))
    reopen = "WITH change AS ({}) UPDATE wallets SET state = 'ACTIVE', revision = revision + 1"
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await payment.sql(reopen.format(CHANGES.replace("$1", "'ACTIVE'")), app=True)


async def test_the_record_of_changes_is_kept_and_its_reasons_can_be_erased(payment: RunningPayment) -> None:
    person, admin = await payment.rich(1000), payment.admin()
    wallet_id = (await person.wallet()).id
    await change(admin, "Freeze", wallet_id, reason="gossip")
    for forbidden in (
        "DELETE FROM wallet_state_changes",
        "TRUNCATE wallet_state_changes",
        "UPDATE wallet_state_changes SET state = 'ACTIVE'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await payment.sql(forbidden, app=True)
        with pytest.raises(asyncpg.RestrictViolationError):
            await payment.sql(forbidden)
    with pytest.raises(asyncpg.RestrictViolationError):
        await payment.sql("UPDATE wallet_state_changes SET reason = 'a better one'", app=True)
    await payment.sql("UPDATE wallet_state_changes SET reason = ''", app=True)
    recorded = (await read(admin, wallet_id)).wallet.last_state_change
    assert (recorded.reason, recorded.actor_id, recorded.state) == ("", admin.id, FROZEN)
