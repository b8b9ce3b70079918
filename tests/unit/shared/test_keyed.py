"""Where an idempotency key comes from, and what its fingerprint covers."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import payment_service_pb2 as pb
from azora.type.v1 import money_pb2
from google.protobuf.duration_pb2 import Duration

from services.shared import keyed
from services.shared.errors import IdempotencyKeyConflict, IdempotencyKeyInvalid, ValidationFailed
from services.shared.principal import Principal, Request, serve_request

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from services.shared.idempotency import Idempotent


def of(request: Message, **served: object) -> Idempotent[str, pb.CreatePaymentResponse]:
    fields = {"id": "edge-1", "traceparent": "", "principal": Principal(user_id="u")} | served

    def called() -> Idempotent[str, pb.CreatePaymentResponse]:
        serve_request(Request(**fields))  # type: ignore[arg-type]
        return keyed.idempotent(request, pb.CreatePaymentResponse, lambda _: pb.CreatePaymentResponse())

    return contextvars.copy_context().run(called)


def test_the_key_is_the_bodys_then_the_headers_then_the_edges() -> None:
    assert of(pb.CreatePaymentRequest(request_id="b"), idempotency_key="b").key == "b"
    assert of(pb.CreatePaymentRequest(request_id="b")).key == "b"
    assert of(pb.CreatePaymentRequest(), idempotency_key="h").key == "h"
    assert of(pb.CreatePaymentRequest()).key == "edge:edge-1"


def test_two_different_keys_are_refused() -> None:
    with pytest.raises(IdempotencyKeyConflict):
        of(pb.CreatePaymentRequest(request_id="b"), idempotency_key="h")


def test_a_service_must_send_a_key_and_none_may_be_too_long() -> None:
    with pytest.raises(IdempotencyKeyInvalid):
        of(pb.CreatePaymentRequest(), principal=Principal(service="education"))
    with pytest.raises(IdempotencyKeyInvalid):
        of(pb.CreatePaymentRequest(), idempotency_key="x" * 256)


def test_the_fingerprint_covers_the_request_without_its_key() -> None:
    first = of(pb.CreatePaymentRequest(request_id="1", description="d"))
    assert first.fingerprint == of(pb.CreatePaymentRequest(request_id="2", description="d")).fingerprint
    assert first.fingerprint != of(pb.CreatePaymentRequest(request_id="1", description="e")).fingerprint
    assert (first.principal_id, first.method) == ("user:u", "azora.payment.v1.CreatePaymentRequest")
    assert first.decode(b"") == pb.CreatePaymentResponse()


def test_texts_with_nul_are_refused_before_they_reach_what_is_written_for_many() -> None:
    with pytest.raises(ValidationFailed) as refused:
        of(pb.CreatePaymentRequest(request_id="k\0", description="d\0", course_id="c"))
    assert [violation.field for violation in refused.value.violations] == ["description", "requestId"]
    transfers = [pb.BatchTransfer(description=text) for text in ("", "\0")]
    with pytest.raises(ValidationFailed) as refused:
        of(pb.BatchCreateTransfersRequest(transfers=transfers))
    assert [violation.field for violation in refused.value.violations] == ["transfers[1].description"]
    amount = money_pb2.Money(minor_units=2**63 - 1, currency="AZR")
    of(pb.CreateHoldRequest(amount=amount, expire_after=Duration(seconds=1 << 21), description="d"))


def test_outside_a_call_there_is_no_key() -> None:
    with pytest.raises(LookupError):
        contextvars.Context().run(
            keyed.idempotent, pb.CreatePaymentRequest(), pb.CreatePaymentResponse, lambda _: pb.CreatePaymentResponse()
        )
