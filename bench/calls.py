"""The calls that are measured: what people do most, as JSON and as gRPC, through the real edge."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from azora import client
from azora.education.v1 import course_service_pb2, course_service_pb2_grpc
from azora.payment.v1 import (
    payment_pb2,
    payment_service_pb2,
    payment_service_pb2_grpc,
    wallet_service_pb2,
    wallet_service_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from grpc import aio

STUDENT = {"email": "student@azora.world", "password": "Student@2024!"}
ADMIN = {"email": "admin@azora.world", "password": "Admin@2024!"}
GRANT_MINOR = 1000_00


@dataclass(frozen=True, slots=True)
class Calls:
    """A signed-in student with money, over both ways to speak."""

    http: httpx.AsyncClient
    channel: aio.Channel
    student: str
    """The student's access token."""
    admin: str
    """The administrator's."""

    @classmethod
    @asynccontextmanager
    async def connect(cls, edge: str) -> AsyncIterator[Calls]:
        """Sign in and fill the student's wallet."""
        limits = httpx.Limits(max_connections=100)
        async with (
            httpx.AsyncClient(base_url=edge, timeout=30, trust_env=False, limits=limits) as http,
            client.connect(edge.removeprefix("http://")) as channel,
        ):
            student, admin = await _sign_in(http, STUDENT), await _sign_in(http, ADMIN)
            calls = cls(http, channel, student["accessToken"], admin["accessToken"])
            for number in range(20):
                grant = {
                    "userId": student["user"]["id"],
                    "amount": {"minorUnits": str(GRANT_MINOR), "currency": "AZR"},
                    "reference": f"bench:{number}",
                }
                headers = {"authorization": f"Bearer {calls.admin}"}
                (await http.post("/v1/earn", json=grant, headers=headers)).raise_for_status()
            yield calls

    def named(self) -> Mapping[str, Callable[[], Awaitable[object]]]:
        """Return the calls by the names of the table's rows."""
        courses = course_service_pb2_grpc.CourseServiceStub(self.channel)
        wallets = wallet_service_pb2_grpc.WalletServiceStub(self.channel)
        payments = payment_service_pb2_grpc.PaymentServiceStub(self.channel)
        listing = course_service_pb2.ListCoursesRequest()
        reading = wallet_service_pb2.GetWalletRequest()
        gift = payment_service_pb2.CreatePaymentRequest(type=payment_pb2.PAYMENT_TYPE_DONATION)
        gift.amount.minor_units, gift.amount.currency = 1, "AZR"
        signed_in = client.bearer(self.student)
        body = {"type": "PAYMENT_TYPE_DONATION", "amount": {"minorUnits": "1", "currency": "AZR"}}
        return {
            "list courses, gRPC": lambda: courses.ListCourses(listing),
            "list courses, JSON": lambda: self._json("GET", "/v1/courses"),
            "wallet, gRPC": lambda: wallets.GetWallet(reading, metadata=signed_in),
            "wallet, JSON": lambda: self._json("GET", "/v1/wallet"),
            "payment from one wallet, gRPC": lambda: payments.CreatePayment(gift, metadata=signed_in),
            "payment from one wallet, JSON": lambda: self._json("POST", "/v1/payments", body),
            "login (bcrypt), JSON": lambda: _sign_in(self.http, STUDENT),
        }

    async def check_books(self) -> None:
        """Hold the books against what was measured. Raises SystemExit if they do not balance."""
        headers = {"authorization": f"Bearer {self.admin}"}
        trial = (await self.http.get("/v1/ledger/trialBalance", headers=headers)).json()
        if not trial["balanced"]:
            raise SystemExit(f"the books do not balance: {trial}")

    async def _json(self, method: str, path: str, body: Any = None) -> None:
        headers = {"authorization": f"Bearer {self.student}"}
        (await self.http.request(method, path, json=body, headers=headers)).raise_for_status()


async def _sign_in(http: httpx.AsyncClient, account: Mapping[str, str]) -> dict[str, Any]:
    response = await http.post("/v1/auth/login", json=account)
    response.raise_for_status()
    session: dict[str, Any] = response.json()
    return session
