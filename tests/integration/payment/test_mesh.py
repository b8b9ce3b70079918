"""What Payment asks of the other services, over real gRPC."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import grpc
from azora.client import bearer
from azora.education.v1 import internal_service_pb2, internal_service_pb2_grpc
from azora.event.v1 import event_pb2
from azora.payment.v1 import events_pb2
from grpc import aio

from tests.support.mesh import Auth
from tests.support.payment import running_payment
from tests.support.refusals import refusal
from tests.support.serving import Signer, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import Clone


@dataclass(slots=True)
class Education(internal_service_pb2_grpc.InternalServiceServicer):
    """Refuses the first delivery and takes the rest; closes what it is asked to."""

    attempts: list[event_pb2.Event] = field(default_factory=list)
    closed: list[internal_service_pb2.CloseEnrollmentRequest] = field(default_factory=list)

    async def CloseEnrollment(
        self, request: internal_service_pb2.CloseEnrollmentRequest, context: Any
    ) -> internal_service_pb2.CloseEnrollmentResponse:
        self.closed.append(request)
        return internal_service_pb2.CloseEnrollmentResponse()

    async def ReceiveEvents(
        self, request: internal_service_pb2.ReceiveEventsRequest, context: Any
    ) -> internal_service_pb2.ReceiveEventsResponse:
        self.attempts += request.events
        if len(self.attempts) == 1:
            await context.abort(grpc.StatusCode.INTERNAL, "on the wrong foot")
        return internal_service_pb2.ReceiveEventsResponse(
            results=[event_pb2.Result(id=event.id) for event in request.events]
        )


@asynccontextmanager
async def _mesh(auth: Auth, education: Education) -> AsyncIterator[str]:
    async with short_folder() as folder:
        server = aio.server()
        auth.register(server)
        internal_service_pb2_grpc.add_InternalServiceServicer_to_server(education, server)
        server.add_insecure_port(f"unix:{folder}/mesh.sock")
        await server.start()
        try:
            yield f"unix:{folder}/mesh.sock"
        finally:
            await server.stop(None)


async def test_tokens_are_verified_by_the_keys_of_auth_and_events_reach_education(payment_database: Clone) -> None:
    signer, education = Signer(), Education()
    urls = payment_database.app_url, payment_database.owner_url
    async with (
        _mesh(Auth(signer), education) as mesh,
        running_payment(*urls, mesh_target=mesh, signer=signer) as payment,
    ):
        person = await payment.rich(1000)
        paid = await person.pay(600)
        await person.refund(paid.id)

        async def delivered() -> bool:
            return len(education.attempts) >= 2

        await eventually(delivered)
        first, second = education.attempts
        assert first == second
        refunded = events_pb2.PaymentRefunded()
        assert second.what.Unpack(refunded)
        assert (refunded.payment_id, refunded.in_full) == (paid.id, True)
        bought = await person.buy(300)
        refund = await person.refund(bought.id)
        asked = internal_service_pb2.CloseEnrollmentRequest(payment_id=bought.id, refund_id=refund.id, by_payer=True)
        assert education.closed == [asked]
        forger = replace(person, metadata=bearer(Signer().token(person.id)))
        assert (await refusal(forger.wallet())).reason == "TOKEN_INVALID"


async def test_without_auth_nobody_can_be_recognised(payment_database: Clone) -> None:
    urls = payment_database.app_url, payment_database.owner_url
    async with (
        short_folder() as folder,
        running_payment(*urls, mesh_target=f"unix:{folder}/nobody.sock") as payment,
    ):
        refused = await refusal(payment.person().wallet())
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
