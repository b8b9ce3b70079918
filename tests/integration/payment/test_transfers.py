"""Transfers between people."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import payment_pb2, wallet_pb2
from azora.payment.v1 import payment_service_pb2 as pb
from azora.type.v1 import money_pb2

from services.shared.ids import new_id
from services.shared.settings import Environment
from tests.support.payment import EDUCATION, Person, RunningPayment, azr, running_payment
from tests.support.refusals import outcome, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.postgres import Clone

INT64_MAX = 2**63 - 1
WORKERS, TRANSFERS = 32, 25


def create(payment: RunningPayment, person: Person, request: pb.CreateTransferRequest) -> Awaitable[object]:
    return payment.payments.CreateTransfer(request, metadata=person.metadata)


async def test_a_transfer_is_in_both_histories_and_readable_by_both(payment: RunningPayment) -> None:
    sender, target, stranger = await payment.rich(1000), await payment.rich(5), payment.person()
    made = await sender.transfer(target, 300, description="Lunch\nand tea")

    assert (made.user_id, made.target_user_id, made.amount) == (sender.id, target.id, azr(300))
    assert (made.wallet_id, made.target_wallet_id) == ((await sender.wallet()).id, (await target.wallet()).id)
    assert (made.description, made.batch_id) == ("Lunch\nand tea", "")
    assert (await sender.balance(), await target.balance()) == ((700, 0, 700), (305, 0, 305))
    for person, amount, after in ((sender, -300, 700), (target, 300, 305)):
        last = (await person.transactions()).transactions[0]
        assert (last.id, last.type) == (made.id, wallet_pb2.TRANSACTION_TYPE_TRANSFER)
        assert (last.amount, last.balance_after, last.description) == (azr(amount), azr(after), "Lunch\nand tea")
        assert (last.payment_id, last.reference, last.create_time) == ("", "", made.create_time)
    for reader in (sender, target, payment.admin()):
        assert await reader.read_transfer(made.id) == made
    for unknown in (stranger.read_transfer(made.id), sender.read_transfer(new_id())):
        refused = await refusal(unknown)
        assert (refused.code, refused.reason) == ("NOT_FOUND", "TRANSFER_NOT_FOUND")
    paid = await sender.pay(1)
    (posted,) = await payment.sql("SELECT id FROM transactions WHERE source_id = $1", paid.id)
    assert (await refusal(sender.read_transfer(str(posted["id"])))).reason == "TRANSFER_NOT_FOUND"
    assert (await payment.trial_balance()).balanced


async def test_a_target_is_a_wallet_or_a_user_who_may_have_none_yet(payment: RunningPayment) -> None:
    sender, target, newcomer = await payment.rich(1000), await payment.rich(5), payment.person()
    wallet_id = (await target.wallet()).id
    by_wallet = pb.CreateTransferRequest(target_wallet_id=wallet_id.upper(), amount=azr(10))
    made = (await payment.payments.CreateTransfer(by_wallet, metadata=sender.metadata)).transfer
    assert (made.target_user_id, made.target_wallet_id) == (target.id, wallet_id)

    opened = await sender.transfer(newcomer, 20)
    assert (await newcomer.wallet()).id == opened.target_wallet_id
    assert (await target.balance(), await newcomer.balance()) == ((15, 0, 15), (20, 0, 20))
    await newcomer.transfer(sender, 20)
    assert await sender.balance() == (990, 0, 990)


async def test_many_transfer_to_one_newcomer_at_once(payment: RunningPayment) -> None:
    senders, newcomer = [await payment.rich(10) for _ in range(8)], payment.person()
    made = await asyncio.gather(*(sender.transfer(newcomer, 10) for sender in senders))
    assert len({transfer.target_wallet_id for transfer in made}) == 1
    assert await newcomer.balance() == (80, 0, 80)


@pytest.mark.parametrize(
    ("fields", "code", "reason", "wrong"),
    [
        ({"amount": azr(0)}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("amount",)),
        ({"amount": azr(-1)}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("amount",)),
        ({"amount": azr(-(2**63))}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("amount",)),
        ({"amount": None}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("amount",)),
        ({"amount": azr(INT64_MAX)}, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS", ()),
        ({"amount": azr(1001)}, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS", ()),
        ({"amount": money_pb2.Money(minor_units=1, currency="ZAR")}, "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS", ()),
        ({"amount": money_pb2.Money(minor_units=1, currency="XYZ")}, "INVALID_ARGUMENT", "CURRENCY_UNKNOWN", ()),
        (
            {"amount": money_pb2.Money(minor_units=1, currency="azr")},
            "INVALID_ARGUMENT",
            "VALIDATION_FAILED",
            ("amount.currency",),
        ),
        ({"target_user_id": "me"}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("targetUserId",)),
        ({"target_user_id": ""}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("targetUserId",)),
        ({"target_user_id": None}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("target",)),
        ({"target_wallet_id": new_id()}, "NOT_FOUND", "TARGET_WALLET_NOT_FOUND", ()),
        ({"description": "x" * 501}, "INVALID_ARGUMENT", "VALIDATION_FAILED", ("description",)),
        (
            {"minimum_available_after": azr(-1)},
            "INVALID_ARGUMENT",
            "VALIDATION_FAILED",
            ("minimumAvailableAfter",),
        ),
        (
            {"minimum_available_after": money_pb2.Money(minor_units=1, currency="ZAR")},
            "INVALID_ARGUMENT",
            "CURRENCY_MISMATCH",
            (),
        ),
        ({"minimum_available_after": azr(1000)}, "FAILED_PRECONDITION", "MINIMUM_AVAILABLE_NOT_MET", ()),
        ({"etag": "of another time"}, "ABORTED", "ETAG_MISMATCH", ()),
    ],
)
async def test_a_bad_transfer_is_refused_and_changes_nothing(
    payment: RunningPayment, fields: dict[str, Any], code: str, reason: str, wrong: tuple[str, ...]
) -> None:
    sender = await payment.rich(1000)
    target = {} if "target_wallet_id" in fields else {"target_user_id": new_id()}
    request = pb.CreateTransferRequest(**{"amount": azr(1)} | target | fields)
    refused = await refusal(create(payment, sender, request))
    assert (refused.code, refused.reason, refused.fields) == (code, reason, wrong)
    assert await sender.balance() == (1000, 0, 1000)
    assert len(await payment.sql("SELECT FROM wallets")) == 1
    assert len(await payment.sql("SELECT FROM transactions")) == 1


async def test_nobody_transfers_to_themselves_and_none_overflows(payment: RunningPayment) -> None:
    sender, target = await payment.rich(1000), await payment.rich(5)
    wallet_id = (await sender.wallet()).id
    for request in (
        pb.CreateTransferRequest(target_user_id=sender.id, amount=azr(1)),
        pb.CreateTransferRequest(target_user_id=sender.id.upper(), amount=azr(1)),
        pb.CreateTransferRequest(target_wallet_id=wallet_id, amount=azr(1)),
    ):
        refused = await refusal(create(payment, sender, request))
        assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "SELF_TRANSFER")
    target_wallet = (await target.wallet()).id
    await payment.sql("UPDATE accounts SET posted = $1 WHERE owner_id = $2", INT64_MAX, target_wallet)
    refused = await refusal(sender.transfer(target, 1))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "AMOUNT_OVERFLOW")
    assert await sender.balance() == (1000, 0, 1000)


async def test_a_frozen_wallet_receives_and_does_not_send(payment: RunningPayment) -> None:
    frozen, other = await payment.rich(100), await payment.rich(100)
    await payment.sql("UPDATE wallets SET state = 'FROZEN' WHERE user_id = $1", frozen.id)
    refused = await refusal(frozen.transfer(other, 1))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "WALLET_FROZEN")
    await other.transfer(frozen, 1)
    assert await frozen.balance() == (101, 0, 101)


async def test_only_signed_in_people_transfer(payment: RunningPayment) -> None:
    request = pb.CreateTransferRequest(target_user_id=new_id(), amount=azr(1), request_id="k")
    many = pb.BatchCreateTransfersRequest(
        transfers=[pb.BatchTransfer(target_user_id=new_id(), amount=azr(1))], request_id="k"
    )
    read = pb.GetTransferRequest(transfer_id=new_id())
    stub = payment.payments
    for metadata, code in (((), "UNAUTHENTICATED"), (EDUCATION, "PERMISSION_DENIED")):
        for call in (
            stub.CreateTransfer(request, metadata=metadata),
            stub.BatchCreateTransfers(many, metadata=metadata),
            stub.GetTransfer(read, metadata=metadata),
        ):
            assert (await refusal(call)).code == code


async def test_a_key_is_for_one_transfer(payment: RunningPayment) -> None:
    sender, target = await payment.rich(1000), payment.person()
    made = await asyncio.gather(*(sender.transfer(target, 10, key="k") for _ in range(10)))
    assert len({transfer.id for transfer in made}) == 1
    refused = await refusal(sender.transfer(target, 11, key="k"))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED")
    assert await sender.balance() == (990, 0, 990)


async def test_fifty_spends_of_one_balance_succeed_once(payment: RunningPayment) -> None:
    sender = await payment.rich(100)
    targets = [payment.person() for _ in range(50)]
    results = Counter(await asyncio.gather(*(outcome(sender.transfer(target, 100)) for target in targets)))
    assert results == {"OK": 1, "INSUFFICIENT_FUNDS": 49}
    assert await sender.balance() == (0, 0, 0)
    assert (await payment.trial_balance()).balanced


async def test_opposite_transfers_meet_no_deadlock(payment: RunningPayment) -> None:
    people = [await payment.rich(1000) for _ in range(4)]
    chance = random.Random(7)  # noqa: S311 - reproducible, not secret

    async def work() -> list[str]:
        results = []
        for _ in range(TRANSFERS):
            one, other = chance.sample(people, 2)
            results.append(await outcome(one.transfer(other, chance.randint(1, 50))))
        return results

    results = Counter(result for worker in await asyncio.gather(*(work() for _ in range(WORKERS))) for result in worker)
    assert results.keys() <= {"OK", "INSUFFICIENT_FUNDS"}
    assert results["OK"] > WORKERS
    assert sum([(await person.balance())[0] for person in people]) == 4000
    (row,) = await payment.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0
    assert (await payment.trial_balance()).balanced


async def test_a_quote_says_what_would_be_and_changes_nothing(payment: RunningPayment) -> None:
    sender, target = await payment.rich(1000), payment.person()
    quoted = await sender.transfer(target, 300, key="k", validate_only=True)
    assert (quoted.id, quoted.amount, quoted.target_user_id) == ("", azr(300), target.id)
    assert quoted.target_wallet_id == "", "it is not open"
    assert (await refusal(sender.transfer(target, 1001, key="k", validate_only=True))).reason == "INSUFFICIENT_FUNDS"
    stub = payment.payments
    pay = pb.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_DONATION, amount=azr(5), validate_only=True)
    assert (await stub.CreatePayment(pay, metadata=sender.metadata)).payment.amount == azr(5)
    hold = pb.CreateHoldRequest(amount=azr(5), validate_only=True)
    held = (await stub.CreateHold(hold, metadata=sender.metadata)).hold
    assert (held.id, held.state) == ("", payment_pb2.HOLD_STATE_ACTIVE)
    assert await sender.balance() == (1000, 0, 1000)
    for table, rows in {"wallets": 1, "transactions": 1, "payments": 0, "holds": 0, "idempotency_records": 1}.items():
        assert len(await payment.sql(f"SELECT FROM {table}")) == rows, table
    made = await sender.transfer(target, 300, key="k")
    assert made.id


async def test_a_debit_can_depend_on_the_balance_that_was_read(payment: RunningPayment) -> None:
    sender, target = await payment.rich(1000), payment.person()
    stub, donation = payment.payments, payment_pb2.PAYMENT_TYPE_DONATION

    async def etag() -> str:
        return (await sender.wallet()).balances[0].etag

    first = await etag()
    tried = await asyncio.gather(*(outcome(sender.transfer(target, 1, etag=first)) for _ in range(5)))
    assert Counter(tried) == {"OK": 1, "ETAG_MISMATCH": 4}
    second = await etag()
    hold = pb.CreateHoldRequest(amount=azr(99), etag=second, minimum_available_after=azr(900))
    held = (await stub.CreateHold(hold, metadata=sender.metadata)).hold
    third = await etag()
    assert len({first, second, third}) == 3
    assert (await refusal(stub.CreateHold(hold, metadata=sender.metadata))).code == "ABORTED"
    pay = pb.CreatePaymentRequest(type=donation, amount=azr(1), minimum_available_after=azr(900))
    refused = await refusal(stub.CreatePayment(pay, metadata=sender.metadata))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "MINIMUM_AVAILABLE_NOT_MET")
    assert refused.metadata == {"currency": "AZR"}
    await payment.sql("UPDATE holds SET expire_time = now() - interval '1 second' WHERE id = $1", held.id)
    await sender.transfer(target, 1, etag=await etag())
    assert await sender.balance() == (998, 0, 998)


async def test_velocity_limits_bound_what_a_person_debits(payment_database: Clone) -> None:
    limits: dict[str, Any] = {"rate_limit_scale": 10, "velocity_max_amount": 1, "velocity_max_debits": 1}
    async with running_payment(payment_database.app_url, payment_database.owner_url, **limits) as payment:
        sender, target = await payment.rich(100_000), payment.person()
        await sender.transfer(target, 400)
        own = await sender.hold(300)
        paid = await sender.pay(200)
        for attempt in (sender.transfer(target, 101, key="k"), sender.hold(101), sender.pay(101)):
            refused = await refusal(attempt)
            assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "VELOCITY_EXCEEDED")
            assert refused.metadata == {"currency": "AZR", "maxDebitMinorUnits": "1000", "maxDebits": "10"}
            assert 23 * 3600 < refused.retry_after_seconds <= 24 * 3600
        assert (await refusal(sender.pay(1001))).retry_after_seconds == 0

        await sender.capture(own.id)
        await sender.refund(paid.id)
        await sender.buy(5000)
        await payment.earn(sender, 1)
        (counted,) = await payment.sql("SELECT velocity_debit, velocity_count FROM accounts WHERE velocity_count > 0")
        assert tuple(counted) == (900, 3)

        await sender.pay(100)
        await payment.sql("UPDATE accounts SET velocity_time = velocity_time - interval '24 hours'")
        await sender.transfer(target, 101, key="k")
        for _ in range(9):
            await sender.transfer(target, 1)
        assert (await refusal(sender.transfer(target, 1))).reason == "VELOCITY_EXCEEDED"


async def test_fresh_accounts_cannot_gather_what_they_earned(payment_database: Clone) -> None:
    """Three fresh accounts earned 150.00 AZR in 0.6 s: it stays where it is."""
    production: dict[str, Any] = {"env": Environment.PRODUCTION, "rate_limit_scale": 1}
    async with running_payment(payment_database.app_url, payment_database.owner_url, **production) as payment:
        collector = payment.person()
        for claims in ({}, {"email_verified": False}, {"email_verified": "true"}, {"email_verified": 1}):
            fresh = payment.person(**claims)
            await payment.earn(fresh, 5000)
            refused = await refusal(fresh.transfer(collector, 1, key="k"))
            assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "EMAIL_NOT_VERIFIED")
            many = fresh.transfer_to_many((collector, 1), key="k")
            assert (await refusal(many)).reason == "EMAIL_NOT_VERIFIED"
            await fresh.pay(1)
        assert (await collector.wallet()).id == ""

        verified = payment.person(email_verified=True)
        await payment.earn(verified, 50_000)
        await verified.transfer(collector, 10_000)
        refused = await refusal(verified.transfer(collector, 1))
        assert (refused.reason, refused.metadata["maxDebitMinorUnits"]) == ("VELOCITY_EXCEEDED", "10000")
        await verified.pay(1)


async def test_a_wallet_of_a_week_is_no_longer_new(payment_database: Clone) -> None:
    limits: dict[str, Any] = {"rate_limit_scale": 1, "new_wallet_max_amount": 1}
    async with running_payment(payment_database.app_url, payment_database.owner_url, **limits) as payment:
        sender, target = await payment.rich(1000), payment.person()
        assert (await refusal(sender.transfer(target, 101))).reason == "VELOCITY_EXCEEDED"
        await payment.sql("UPDATE wallets SET create_time = create_time - interval '7 days'")
    async with running_payment(payment_database.app_url, payment_database.owner_url, **limits) as payment:
        again = Person(sender.id, (("authorization", f"Bearer {payment.signer.token(sender.id)}"),), payment)
        await again.transfer(target, 101)
