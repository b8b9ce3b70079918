"""Transfers to many at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from azora.payment.v1 import payment_service_pb2 as pb
from azora.type.v1 import money_pb2
from google.rpc import code_pb2, error_details_pb2

from services.payment.ledger.writer import MAX_LANES
from services.shared.ids import new_id
from tests.support.payment import Person, RunningPayment, azr, running_payment
from tests.support.receiver import receiving
from tests.support.refusals import outcome, refusal
from tests.support.waiting import eventually
from tests.support.webhooks import hook

if TYPE_CHECKING:
    from azora.payment.v1 import transfer_pb2

    from tests.support.postgres import Clone

MAX = 200


def reason(result: transfer_pb2.TransferResult) -> str:
    """Return OK, or the reason of a verdict."""
    if result.HasField("transfer"):
        return "OK"
    info = error_details_pb2.ErrorInfo()
    result.error.details[0].Unpack(info)
    return str(info.reason)


async def counts(payment: RunningPayment) -> tuple[int, int]:
    """Return how many transactions and wallets there are."""
    (row,) = await payment.sql("SELECT (SELECT count(*) FROM transactions), (SELECT count(*) FROM wallets)")
    return tuple(row)


async def test_a_batch_pays_everyone_in_one_commit(payment: RunningPayment) -> None:
    sender, targets = await payment.rich(100_000), [payment.person() for _ in range(MAX - 1)]
    results = await sender.transfer_to_many(*((target, 100) for target in targets), (targets[0], 50))
    transfers = [result.transfer for result in results]
    assert [transfer.target_user_id for transfer in transfers] == [*(target.id for target in targets), targets[0].id]
    (batch_id,) = {transfer.batch_id for transfer in transfers}
    assert (await targets[0].balance(), await targets[-1].balance()) == ((150, 0, 150), (100, 0, 100))
    assert await sender.balance() == (80_050, 0, 80_050)
    assert await targets[1].read_transfer(transfers[1].id) == transfers[1]
    (commits,) = await payment.sql("SELECT count(DISTINCT xmin::text) FROM transactions WHERE source_id = $1", batch_id)
    assert commits[0] == 1
    assert (await payment.trial_balance()).balanced


async def test_a_batch_is_all_or_none(payment: RunningPayment) -> None:
    sender, target = await payment.rich(1000), payment.person()
    before = await counts(payment)
    refused = await refusal(sender.transfer_to_many((target, 600), (target, 300), (target, 101), (target, 1), key="k"))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
    assert refused.metadata == {"currency": "AZR", "index": "2"}
    assert await counts(payment) == before
    await payment.earn(sender, 1000)
    again = sender.transfer_to_many((target, 600), (target, 300), (target, 101), (target, 1), key="k")
    assert (await refusal(again)).metadata == refused.metadata


async def test_a_quote_of_a_batch_has_all_verdicts_and_changes_nothing(payment: RunningPayment) -> None:
    sender, target, other = await payment.rich(1000), payment.person(), payment.person()
    before = await counts(payment), await sender.balance()
    amounts = (target, 600), (other, 300), (sender, 1), (other, 101), (target, 1)
    quote: dict[str, Any] = {"key": "k", "validate_only": True, "minimum_available_after": azr(100)}
    results = await sender.transfer_to_many(*amounts, partial=True, **quote)
    refusals = ["SELF_TRANSFER", "INSUFFICIENT_FUNDS", "MINIMUM_AVAILABLE_NOT_MET"]
    assert [reason(result) for result in results] == ["OK", "OK", *refusals]
    first = results[0].transfer
    assert (first.id, first.batch_id, first.amount, first.target_user_id) == ("", "", azr(600), target.id)
    refused = await refusal(sender.transfer_to_many(*amounts, **quote))
    assert (refused.reason, refused.metadata["index"]) == ("SELF_TRANSFER", "2")
    assert (await refusal(sender.transfer_to_many((target, 1), etag="other"))).reason == "ETAG_MISMATCH"
    assert (await counts(payment), await sender.balance()) == before
    assert len(await sender.transfer_to_many(*amounts[:2], key="k")) == 2, "the key was not used"


async def test_each_transfer_has_a_verdict_of_its_own_if_asked_for(payment: RunningPayment) -> None:
    sender, target = await payment.rich(1000), payment.person()
    transfers = [
        pb.BatchTransfer(target_user_id=target.id, amount=azr(600)),
        pb.BatchTransfer(target_user_id=target.id, amount=azr(401)),
        pb.BatchTransfer(target_user_id=sender.id, amount=azr(1)),
        pb.BatchTransfer(target_wallet_id=new_id(), amount=azr(1)),
        pb.BatchTransfer(target_user_id=target.id, amount=azr(400)),
        pb.BatchTransfer(target_user_id=new_id(), amount=azr(1)),
    ]
    request = pb.BatchCreateTransfersRequest(transfers=transfers, return_partial_success=True, request_id="k")
    answer = await payment.payments.BatchCreateTransfers(request, metadata=sender.metadata)
    reasons = ["OK", "INSUFFICIENT_FUNDS", "SELF_TRANSFER", "TARGET_WALLET_NOT_FOUND", "OK", "INSUFFICIENT_FUNDS"]
    assert [reason(result) for result in answer.results] == reasons
    assert [result.error.code for result in answer.results[1:4]] == [
        code_pb2.FAILED_PRECONDITION,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.NOT_FOUND,
    ]
    assert (await sender.balance(), await target.balance()) == ((0, 0, 0), (1000, 0, 1000))
    await payment.earn(sender, 1000)
    assert await payment.payments.BatchCreateTransfers(request, metadata=sender.metadata) == answer
    assert await counts(payment) == (4, 2)


@pytest.mark.parametrize(
    ("transfers", "reason_", "fields"),
    [
        ([], "VALIDATION_FAILED", ("transfers",)),
        ([pb.BatchTransfer(target_user_id=new_id(), amount=azr(1))] * (MAX + 1), "VALIDATION_FAILED", ("transfers",)),
        ([pb.BatchTransfer(amount=azr(1))], "VALIDATION_FAILED", ("transfers[0].target",)),
        ([pb.BatchTransfer(target_user_id=new_id(), amount=azr(0))], "VALIDATION_FAILED", ("transfers[0].amount",)),
        (
            [pb.BatchTransfer(target_user_id=new_id(), amount=money_pb2.Money(minor_units=1, currency="XYZ"))],
            "CURRENCY_UNKNOWN",
            (),
        ),
        (
            [
                pb.BatchTransfer(target_user_id=new_id(), amount=azr(1)),
                pb.BatchTransfer(target_user_id=new_id(), amount=money_pb2.Money(minor_units=1, currency="ZAR")),
            ],
            "CURRENCY_MISMATCH",
            (),
        ),
    ],
)
@pytest.mark.parametrize("partial", [False, True])
async def test_a_bad_batch_is_refused_as_a_whole(
    payment: RunningPayment,
    transfers: list[pb.BatchTransfer],
    reason_: str,
    fields: tuple[str, ...],
    *,
    partial: bool,
) -> None:
    sender = await payment.rich(1000)
    request = pb.BatchCreateTransfersRequest(transfers=transfers, return_partial_success=partial)
    refused = await refusal(payment.payments.BatchCreateTransfers(request, metadata=sender.metadata))
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", reason_, fields)
    assert await counts(payment) == (1, 1)


async def test_each_transfer_counts_for_velocity(payment_database: Clone) -> None:
    limits: dict[str, Any] = {"rate_limit_scale": 10, "velocity_max_debits": 1}
    async with running_payment(payment_database.app_url, payment_database.owner_url, **limits) as payment:
        sender, target = await payment.rich(1000), payment.person()
        refused = await refusal(sender.transfer_to_many(*[(target, 1)] * 11))
        assert (refused.reason, refused.metadata["index"]) == ("VELOCITY_EXCEEDED", "10")
        results = await sender.transfer_to_many(*[(target, 1)] * 12, partial=True)
        assert [reason(result) for result in results] == ["OK"] * 10 + ["VELOCITY_EXCEEDED"] * 2
        assert await target.balance() == (10, 0, 10)


async def test_each_transfer_counts_as_a_call(payment_database: Clone) -> None:
    async with running_payment(payment_database.app_url, payment_database.owner_url, rate_limit_scale=1) as payment:
        sender, target = await payment.rich(1000), payment.person()
        await sender.transfer_to_many(*[(target, 1)] * 40)
        refused = await refusal(sender.transfer_to_many(*[(target, 1)] * 50))
        assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        assert refused.metadata == {"tier": "MONEY"}
        assert refused.retry_after_seconds > 0
        assert len(await sender.transfer_to_many(*[(target, 1)] * 10)) == 10
        assert await target.balance() == (50, 0, 50)

        other = await payment.rich(1000)
        await other.transfer_to_many(*[(target, 1)] * MAX)  # Takes all of a minute: it can never have more.
        assert (await refusal(other.transfer_to_many(*[(target, 1)] * MAX))).reason == "RATE_LIMITED"
        assert await target.balance() == (250, 0, 250)


async def test_both_sides_of_what_was_posted_are_told(payment_database: Clone) -> None:
    local: dict[str, Any] = {"webhook_allowed_networks": "127.0.0.1/32"}
    urls = payment_database.app_url, payment_database.owner_url
    async with running_payment(*urls, **local) as payment, receiving() as to_sender, receiving() as to_target:
        sender, target = await payment.rich(1000), payment.person()
        await hook(payment, sender, to_sender.url)
        await hook(payment, target, to_target.url)
        await refusal(sender.transfer_to_many((target, 999), (target, 2)))
        results = await sender.transfer_to_many((target, 600), (target, 401), (target, 400), partial=True)
        made = [result.transfer for result in results if result.HasField("transfer")]

        async def told() -> bool:
            return len(to_sender.received) == len(to_target.received) == len(made)

        await eventually(told)
        for receiver in (to_sender, to_target):
            assert {request.json["type"] for request in receiver.received} == {"transfer.completed"}
            data = {request.json["data"]["transferId"]: request.json["data"] for request in receiver.received}
            assert data == {
                transfer.id: {
                    "transferId": transfer.id,
                    "userId": sender.id,
                    "targetUserId": target.id,
                    "amount": {"minorUnits": str(transfer.amount.minor_units), "currency": "AZR"},
                }
                for transfer in made
            }


async def test_batches_that_cross_meet_no_deadlock_and_let_others_pass(payment: RunningPayment) -> None:
    people = [await payment.rich(10_000) for _ in range(2 * MAX_LANES + 2)]

    def batch(person: Person) -> asyncio.Task[str]:
        others = [other for other in people if other is not person] * 20
        return asyncio.create_task(outcome(person.transfer_to_many(*((other, 1) for other in others))))

    batches = [batch(person) for person in people]
    single = await payment.rich(10)
    assert await outcome(single.transfer(payment.person(), 10)) == "OK"
    assert await asyncio.gather(*batches) == ["OK"] * len(people)
    for person in people:
        assert await person.balance() == (10_000, 0, 10_000)
    assert (await payment.trial_balance()).balanced
