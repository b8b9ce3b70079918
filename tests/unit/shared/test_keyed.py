"""Where an idempotency key comes from, and what its fingerprint covers."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import payment_service_pb2 as pb

from services.shared import keyed
from services.shared.errors import IdempotencyKeyConflict, IdempotencyKeyInvalid
from services.shared.principal import Principal, Request, serve_request

if TYPE_CHECKING:
    from services.shared.idempotency import Idempotent


def of(request: pb.CreatePaymentRequest, **served: object) -> Idempotent[str, pb.CreatePaymentResponse]:
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


def test_outside_a_call_there_is_no_key() -> None:
    with pytest.raises(LookupError):
        contextvars.Context().run(
            keyed.idempotent, pb.CreatePaymentRequest(), pb.CreatePaymentResponse, lambda _: pb.CreatePaymentResponse()
        )
