"""The same key has one effect and one answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import payment_pb2
from azora.payment.v1 import payment_service_pb2 as pb
from grpc import aio

from services.shared.ids import new_id
from tests.support.payment import EDUCATION, Person, RunningPayment, azr
from tests.support.refusals import described, refusal

if TYPE_CHECKING:
    from azora.client import Metadata

pytestmark = pytest.mark.shared

DONATION = payment_pb2.PAYMENT_TYPE_DONATION


async def _raw(
    payment: RunningPayment, method: str, request: bytes, metadata: Metadata
) -> tuple[bytes | bytearray, bool]:
    """Call a method by bytes; return the answer's bytes (of a refusal, its status's) and whether it was replayed."""
    path = f"/azora.payment.v1.PaymentService/{method}"
    send: aio.UnaryUnaryMultiCallable[bytes, bytes] = payment.channel.unary_unary(path)
    call = send(request, metadata=metadata)
    try:
        answer: bytes | bytearray = await call
        headers: dict[str, str | bytes] = dict(await call.initial_metadata() or ())
    except aio.AioRpcError as error:
        headers = dict(error.trailing_metadata() or ())
        answer = bytes(headers["grpc-status-details-bin"])  # type: ignore[arg-type] # Binary by its name.
    return answer, headers.get("idempotent-replayed") == "true"


async def _keyed_calls(payment: RunningPayment, person: Person) -> dict[str, tuple[bytes, Metadata]]:
    captured, released, paid = await person.hold(50), await person.hold(50), await person.pay(50)
    return {
        "CreatePayment": (pb.CreatePaymentRequest(type=DONATION, amount=azr(10)).SerializeToString(), person.metadata),
        "CreateTransfer": (
            pb.CreateTransferRequest(target_user_id=new_id(), amount=azr(10)).SerializeToString(),
            person.metadata,
        ),
        "BatchCreateTransfers": (
            pb.BatchCreateTransfersRequest(
                transfers=[pb.BatchTransfer(target_user_id=new_id(), amount=azr(minor)) for minor in (10, 10**9)],
                return_partial_success=True,
            ).SerializeToString(),
            person.metadata,
        ),
        "CreateRefund": (pb.CreateRefundRequest(payment_id=paid.id).SerializeToString(), person.metadata),
        "CreateHold": (pb.CreateHoldRequest(amount=azr(10)).SerializeToString(), person.metadata),
        "CaptureHold": (pb.CaptureHoldRequest(hold_id=captured.id).SerializeToString(), person.metadata),
        "ReleaseHold": (pb.ReleaseHoldRequest(hold_id=released.id).SerializeToString(), person.metadata),
        "Earn": (
            pb.EarnRequest(user_id=person.id, amount=azr(10), reference=new_id()).SerializeToString(),
            EDUCATION,
        ),
    }


@pytest.mark.parametrize(
    "method",
    [
        "CreatePayment",
        "CreateTransfer",
        "BatchCreateTransfers",
        "CreateRefund",
        "CreateHold",
        "CaptureHold",
        "ReleaseHold",
        "Earn",
    ],
)
async def test_a_key_replays_its_answer_byte_for_byte(payment: RunningPayment, method: str) -> None:
    person = await payment.rich(1000)
    request, metadata = (await _keyed_calls(payment, person))[method]
    keyed = (*metadata, ("idempotency-key", "once"))

    answer, replayed = await _raw(payment, method, request, keyed)
    balance = await person.balance()
    again, replayed_again = await _raw(payment, method, request, keyed)

    assert (replayed, replayed_again) == (False, True)
    assert again == answer
    assert len(answer) > 0
    assert await person.balance() == balance


async def test_a_verdict_is_replayed_even_when_it_would_be_another_by_now(payment: RunningPayment) -> None:
    person = await payment.rich(10)
    request = pb.CreatePaymentRequest(type=DONATION, amount=azr(50), request_id="poor").SerializeToString()
    refused, replayed = await _raw(payment, "CreatePayment", request, person.metadata)
    await payment.earn(person, 1000)
    again, replayed_again = await _raw(payment, "CreatePayment", request, person.metadata)
    assert (again, replayed, replayed_again) == (refused, False, True)
    assert b"INSUFFICIENT_FUNDS" in refused
    assert await person.balance() == (1010, 0, 1010)


async def test_bad_input_is_not_kept_under_the_key(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    wrong = pb.CreatePaymentRequest(type=DONATION, amount=azr(0), request_id="k")
    assert (await refusal(payment.payments.CreatePayment(wrong, metadata=person.metadata))).code == "INVALID_ARGUMENT"
    await person.pay(10, key="k")
    assert await person.balance() == (90, 0, 90)


async def test_a_key_is_for_one_request(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    await person.pay(10, key="k")
    reused = await refusal(person.pay(11, key="k"))
    assert (reused.code, reused.reason) == ("INVALID_ARGUMENT", "IDEMPOTENCY_KEY_REUSED")
    assert await person.balance() == (90, 0, 90)


async def test_a_key_belongs_to_its_caller_and_method(payment: RunningPayment) -> None:
    person, other = await payment.rich(100), await payment.rich(100)
    await person.pay(10, key="k")
    await other.pay(10, key="k")
    await person.hold(10, key="k")
    assert await person.balance() == (90, 10, 80)
    assert await other.balance() == (90, 0, 90)


async def test_header_and_field_are_the_same_key(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    paid = await person.pay(10, key="k")
    request = pb.CreatePaymentRequest(type=DONATION, amount=azr(10))
    keyed = (*person.metadata, ("idempotency-key", "k"))
    assert (await payment.payments.CreatePayment(request, metadata=keyed)).payment == paid

    request.request_id = "another"
    conflict = await refusal(payment.payments.CreatePayment(request, metadata=keyed))
    assert conflict.reason == "IDEMPOTENCY_KEY_CONFLICT"
    assert await person.balance() == (90, 0, 90)


async def test_the_request_id_of_the_edge_is_the_key_of_a_call_without_one(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    request = pb.CreatePaymentRequest(type=DONATION, amount=azr(10))
    for _ in range(3):  # As the gateway retries.
        await payment.payments.CreatePayment(request, metadata=(*person.metadata, ("x-request-id", "r-1")))
    assert await person.balance() == (90, 0, 90)
    await payment.payments.CreatePayment(request, metadata=(*person.metadata, ("x-request-id", "r-2")))
    assert await person.balance() == (80, 0, 80)


async def test_concurrent_twins_have_one_effect_and_one_answer(payment: RunningPayment) -> None:
    person = await payment.rich(100)
    twins = await asyncio.gather(*(person.pay(10, key="k") for _ in range(25)))
    assert all(twin == twins[0] for twin in twins)
    assert await person.balance() == (90, 0, 90)


async def test_concurrent_twins_share_one_refusal(payment: RunningPayment) -> None:
    person = await payment.rich(5)
    calls = [person.pay(10, key="k") for _ in range(10)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    reasons = {described(error).reason for error in outcomes if isinstance(error, aio.AioRpcError)}
    assert reasons == {"INSUFFICIENT_FUNDS"}
    assert len([error for error in outcomes if isinstance(error, aio.AioRpcError)]) == 10
