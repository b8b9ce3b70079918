"""The trace that a call belongs to: passed on without spans, and recorded with them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from interceptors.base import Call
from interceptors.client import OutgoingCalls
from interceptors.tracing import Tracing, traceparent
from services.compiler.contract import load_contract
from services.shared.errors import DependencyUnavailable, FailedPrecondition, Refused
from services.shared.ids import new_id
from services.shared.principal import current_request
from services.shared.server import Registration
from tests.support.serving import Signer, channel_to, serving
from tests.support.spans import Recording
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

GET_PAYMENT = "azora.payment.v1.PaymentService/GetPayment"
EDUCATION = ("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/education")
TRACE_ID, SPAN_ID = "a" * 32, "b" * 16
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


class WalletBroken(FailedPrecondition):
    """The wallet is broken."""


class Payments(payment_service_pb2_grpc.PaymentServiceServicer):
    """Answers, refuses, crashes or hangs, by the payment's description; remembers what it was told of the trace."""

    def __init__(self) -> None:
        self.behaviour = ""
        self.served: list[tuple[str, str]] = []
        self.current: list[str] = []

    async def GetPayment(self, request: Any, context: Any) -> payment_service_pb2.GetPaymentResponse:
        served = current_request()
        assert served
        self.served.append((served.traceparent, served.tracestate))
        self.current.append(traceparent(trace.get_current_span().get_span_context()))
        if self.behaviour == "refuse":
            raise WalletBroken
        if self.behaviour == "crash":
            raise RuntimeError("student@azora.world")
        if self.behaviour == "hang":
            await asyncio.Event().wait()
        return payment_service_pb2.GetPaymentResponse()


@pytest.fixture
def payments() -> Payments:
    return Payments()


@pytest.fixture
def recording() -> Recording:
    return Recording()


@pytest.fixture
async def signer() -> Signer:
    return Signer()


@pytest.fixture
async def target(recording: Recording, payments: Payments, signer: Signer) -> AsyncIterator[str]:
    """Serve with a tracer."""
    async with serving([Registration.of(payments)], signer, tracer=recording.tracer) as address:
        yield address


@pytest.fixture
async def recorded(target: str) -> AsyncIterator[aio.Channel]:
    async with channel_to(target) as channel:
        yield channel


async def get(channel: aio.Channel, signer: Signer, *headers: tuple[str, str]) -> Any:
    stub = payment_service_pb2_grpc.PaymentServiceStub(channel)
    metadata = (("authorization", f"Bearer {signer.token()}"), *headers)
    return await stub.GetPayment(payment_service_pb2.GetPaymentRequest(payment_id=new_id()), metadata=metadata)


async def the_span(recording: Recording) -> ReadableSpan:
    async def ended() -> bool:
        return bool(recording.spans)

    await eventually(ended)
    (span,) = recording.spans
    return span


def ids(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


async def test_without_a_tracer_the_context_is_passed_on_as_it_came(payments: Payments, signer: Signer) -> None:
    async with serving([Registration.of(payments)], signer) as target, channel_to(target) as channel:
        await get(channel, signer, ("traceparent", TRACEPARENT), ("tracestate", "vendor=1"))
        await get(channel, signer, ("traceparent", "00-nonsense"), ("tracestate", "vendor=1"))
        await get(channel, signer, ("traceparent", TRACEPARENT), ("tracestate", "v=" + "1" * 511))
    (kept, replaced, long) = payments.served
    assert kept == (TRACEPARENT, "vendor=1")
    assert (replaced[0][:3], replaced[0][-3:], replaced[1]) == ("00-", "-00", "")
    assert long == (TRACEPARENT, "")


async def test_a_call_is_a_span_of_its_callers_trace(
    recorded: aio.Channel, recording: Recording, payments: Payments, signer: Signer
) -> None:
    await get(recorded, signer, ("traceparent", TRACEPARENT), ("x-request-id", "edge-1"))
    span = await the_span(recording)
    assert (span.name, span.kind) == (GET_PAYMENT, SpanKind.SERVER)
    assert span.parent
    assert (ids(span)[0], f"{span.parent.span_id:016x}") == (TRACE_ID, SPAN_ID)
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": GET_PAYMENT,
        "rpc.response.status_code": "OK",
        "azora.request.id": "edge-1",
    }
    assert payments.current == [payments.served[0][0]] == [f"00-{TRACE_ID}-{ids(span)[1]}-01"]


@pytest.mark.parametrize(
    ("behaviour", "code", "reason", "fault"),
    [("refuse", "FAILED_PRECONDITION", "WALLET_BROKEN", False), ("crash", "INTERNAL", "INTERNAL_ERROR", True)],
)
async def test_a_failed_calls_span_bears_code_and_reason_and_only_a_fault_is_an_error(
    recorded: aio.Channel,
    recording: Recording,
    payments: Payments,
    signer: Signer,
    *,
    behaviour: str,
    code: str,
    reason: str,
    fault: bool,
) -> None:
    payments.behaviour = behaviour
    with pytest.raises(aio.AioRpcError):
        await get(recorded, signer)
    span = await the_span(recording)
    attributes = dict(span.attributes or {})
    assert (attributes["rpc.response.status_code"], attributes["azora.error.reason"]) == (code, reason)
    assert attributes.get("error.type") == (code if fault else None)
    assert (span.status.status_code is StatusCode.ERROR) is fault
    assert "@azora.world" not in span.to_json()


async def test_a_refusal_before_the_handler_has_a_span_too(recorded: aio.Channel, recording: Recording) -> None:
    stub = payment_service_pb2_grpc.PaymentServiceStub(recorded)
    with pytest.raises(aio.AioRpcError):
        await stub.GetPayment(payment_service_pb2.GetPaymentRequest())
    assert dict((await the_span(recording)).attributes or {})["azora.error.reason"] == "TOKEN_MISSING"


async def test_a_cancelled_calls_span_ends(
    recorded: aio.Channel, recording: Recording, payments: Payments, signer: Signer
) -> None:
    payments.behaviour = "hang"
    call = asyncio.create_task(get(recorded, signer))

    async def arrived() -> bool:
        return bool(payments.served)

    await eventually(arrived)
    call.cancel()
    assert dict((await the_span(recording)).attributes or {})["rpc.response.status_code"] == "CANCELLED"


async def test_health_has_no_spans(recorded: aio.Channel, recording: Recording) -> None:
    stub: Any = health_pb2_grpc.HealthStub(recorded)
    await stub.Check(health_pb2.HealthCheckRequest())
    assert recording.spans == []


async def test_an_outgoing_call_is_a_child_of_the_current_span_and_its_server_a_child_of_it(
    target: str, recording: Recording, payments: Payments, signer: Signer
) -> None:
    payments.behaviour = "refuse"
    outgoing = OutgoingCalls(tracer=recording.tracer)
    async with aio.insecure_channel(target, interceptors=[outgoing]) as channel:
        with recording.tracer.start_as_current_span("job"), pytest.raises(Refused):
            await get(channel, signer)

    async def all_ended() -> bool:
        return len(recording.spans) == 3

    await eventually(all_ended)
    by_kind = {span.kind: span for span in recording.spans}
    job, client, server = (by_kind[kind] for kind in (SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.SERVER))
    for child, parent in ((server, client), (client, job)):
        assert child.parent
        assert f"{child.parent.span_id:016x}" == ids(parent)[1]
    assert client.name == GET_PAYMENT
    assert dict(client.attributes or {})["azora.error.reason"] == "WALLET_BROKEN"
    assert client.status.status_code is StatusCode.UNSET, "a verdict is no fault"


async def test_a_call_that_reaches_nobody_is_an_error_of_its_span(recording: Recording) -> None:
    outgoing = OutgoingCalls(tracer=recording.tracer)
    async with aio.insecure_channel("unix:/tmp/azora-nobody", interceptors=[outgoing]) as channel:
        call: Any = channel.unary_unary(f"/{GET_PAYMENT}")
        with pytest.raises(DependencyUnavailable):
            await call(b"")
    span = await the_span(recording)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {})["rpc.response.status_code"] == grpc.StatusCode.UNAVAILABLE.name


async def test_passing_a_trace_on_costs_less_than_half_of_a_span_that_nobody_records() -> None:
    policy = load_contract().policies[f"/{GET_PAYMENT}"]
    headers = (("x-request-id", "edge-1"), ("traceparent", TRACEPARENT))

    async def cost(tracing: Tracing) -> float:
        started = time.process_time()
        for _ in range(500):
            await tracing.around(Call(policy, None, headers, b"", bytes, iter(())), nothing)  # type: ignore[arg-type]
        return time.process_time() - started

    async def nothing() -> None:
        pass

    without, unrecorded = Tracing(), Tracing(trace.NoOpTracerProvider().get_tracer("test"))
    rounds = [(await cost(without), await cost(unrecorded)) for _ in range(20)]
    assert min(off for off, _ in rounds) < min(on for _, on in rounds) / 2
