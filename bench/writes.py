"""What changes something: payments, and the events that a load leaves behind."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import orjson
from azora.payment.v1 import payment_pb2, payment_service_pb2

from bench.client import PAY, Request
from bench.compare import Comparison, Result, Subject
from services.compiler.contract import load_contract
from services.shared import dead_letters
from services.shared.db import Database

if TYPE_CHECKING:
    from bench.system import People, System

GRANTS, GRANT_MINOR = 20, 1000_00
DRAIN_SECONDS = 5


def payments(system: System, people: People) -> Comparison:
    """Return the payments of one person, one minor unit each."""
    body = {"type": "PAYMENT_TYPE_DONATION", "amount": {"minorUnits": "1", "currency": "AZR"}}
    message = payment_service_pb2.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_DONATION)
    message.amount.minor_units, message.amount.currency = 1, "AZR"
    json = Request(system.edge, "/v1/payments", people.student, orjson.dumps(body))
    grpc = Request(system.edge, PAY, people.student, message.SerializeToString(), grpc=True)
    behind = system.behind_edge("payment")
    return Comparison(
        "payment from one wallet",
        (Subject("azora, JSON", json, behind), Subject("azora, gRPC through Envoy", grpc, behind)),
    )


async def fill_wallet(people: People) -> None:
    """Grant the student enough for all payments."""
    for number in range(GRANTS):
        await people.grant(GRANT_MINOR, f"bench:{number}")


async def backlog_after_load(system: System, people: People, *, callers: int, seconds: float) -> Result:
    """Let callers pay and take back, which tells Education of each; return what is not delivered 5 s later."""
    end = time.perf_counter() + seconds
    gift = {"type": "PAYMENT_TYPE_DONATION", "amount": {"minorUnits": "1", "currency": "AZR"}}

    async def caller() -> None:
        while time.perf_counter() < end:
            paid = await people.post("/v1/payments", gift, people.student)
            await people.post("/v1/refunds", {"paymentId": paid["payment"]["id"]}, people.student)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    await asyncio.sleep(DRAIN_SECONDS)
    what = f"events and jobs that wait {DRAIN_SECONDS} s after a load of refunds"
    return Result(what, await backlog(system), "due", 0, 0)


async def backlog(system: System) -> int:
    """Return how many events and due jobs are not done, over all services."""
    waiting = 0
    for service in load_contract().owners:
        database = Database(system.database_url(service), pool_size=1)
        try:
            async with database.reading() as connection:
                counts = await dead_letters.backlog(connection)
        finally:
            await database.close()
        waiting += counts.events + counts.jobs
    return waiting
