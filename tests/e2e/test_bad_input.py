"""Whatever comes in at the edge, the answer is a clear google.rpc.Status, never a 5xx, never an insight."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from azora.payment.v1 import payment_service_pb2, payment_service_pb2_grpc
from grpc import StatusCode, aio

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People

CODES = {400: {3, 9}, 401: {16}, 403: {7}, 404: {5}, 409: {6, 10}, 413: {8}, 415: {3}, 429: {8}}
PROGRESS = "/v1/enrollments/0197f3c0-0000-7000-8000-000000000000/progress"
INSIGHTS = ("Traceback", "asyncpg", "sqlalchemy", "postgresql", "/services/", "upstream", "SELECT ")


def status_of(response: httpx.Response) -> dict[str, Any]:
    """Hold an error answer against what every one must be, and return it."""
    assert response.status_code in CODES, response.text
    assert response.headers["content-type"].startswith("application/json"), response.text
    status: dict[str, Any] = response.json()
    assert status["code"] in CODES[response.status_code], status
    assert status["message"]
    info = next(detail for detail in status["details"] if detail["@type"].endswith("google.rpc.ErrorInfo"))
    assert info["domain"] == "azora.dev"
    assert info["reason"].isupper()
    assert not any(insight in response.text for insight in INSIGHTS)
    return status


def reason_of(response: httpx.Response) -> str:
    return str(next(detail["reason"] for detail in status_of(response)["details"] if "reason" in detail))


@pytest.mark.parametrize(
    ("method", "path", "arguments", "http_status"),
    [
        ("GET", "/", {}, 404),
        ("GET", "/v2/courses", {}, 404),
        ("DELETE", "/v1/courses", {}, 404),
        ("POST", "/v1/wallet", {"json": {}}, 404),
        ("GET", "/v1/courses?colour=red", {}, 400),
        ("GET", "/v1/courses?pageSize=many", {}, 400),
        ("GET", "/v1/courses?pageSize=-1", {}, 400),
        ("GET", "/v1/courses?pageToken=forged", {}, 400),
        ("GET", "/v1/courses/not-a-uuid", {}, 400),
        ("GET", "/v1/courses/0197f3c0-0000-7000-8000-000000000000", {}, 404),
        ("POST", "/v1/auth/login", {"content": '{"email": '}, 400),
        ("POST", "/v1/auth/login", {"content": "[]"}, 400),
        ("POST", "/v1/auth/login", {"json": {"email": 7, "password": {}}}, 400),
        ("POST", "/v1/auth/login", {"json": {}}, 400),
        ("POST", "/v1/auth/register", {"json": {"email": "nobody", "password": "x", "name": ""}}, 400),
        ("PATCH", PROGRESS, {"json": {"completedLessons": 3}}, 404),
        ("PUT", PROGRESS, {"json": {"progress": {"basisPoints": 10000}}}, 404),
        ("GET", "/v1/wallet", {}, 401),
        ("GET", "/v1/wallet", {"headers": {"authorization": "Bearer abc.def.ghi"}}, 401),
        ("GET", "/v1/wallet", {"headers": {"authorization": "Basic YTpi"}}, 401),
        ("GET", "/v1/courses/..%2f..%2fadmin", {}, 400),
        ("POST", "/azora.education.v1.InternalService/CloseEnrollment", {"json": {}}, 404),
        ("POST", "/azora.education.v1.InternalService/ReceiveEvents", {"json": {}}, 404),
    ],
)
async def test_every_kind_of_bad_request_is_told_what_is_wrong(
    http: httpx.AsyncClient, method: str, path: str, arguments: dict[str, Any], http_status: int
) -> None:
    arguments = {"headers": {"content-type": "application/json"} if "content" in arguments else {}} | arguments
    response = await http.request(method, path, **arguments)
    status_of(response)
    assert response.status_code == http_status, response.text


async def test_a_body_that_is_not_json_is_refused_whatever_it_says(http: httpx.AsyncClient) -> None:
    """A text/plain body needs no preflight: taking it would let any page post on a person's behalf."""
    body = json.dumps({"email": "student@azora.world", "password": "Student@2024!"})
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = await http.post("/v1/auth/login", content=body, headers={"content-type": content_type})
        status_of(response)
        assert response.status_code in (400, 415)


async def test_a_body_above_the_limit_is_refused(http: httpx.AsyncClient) -> None:
    response = await http.post("/v1/auth/login", json={"email": "a@b.c", "password": "x" * 2_000_000})
    assert response.status_code == 413, response.text
    status_of(response)


@pytest.mark.parametrize("name", ["courseId", "course_id"])
async def test_a_body_cannot_override_the_path(http: httpx.AsyncClient, people: People, name: str) -> None:
    student = await people.student()
    courses = (await http.get("/v1/courses")).json()["courses"]
    response = await http.post(f"/v1/courses/{uuid4()}/enroll", json={name: courses[0]["id"]}, headers=student)
    assert response.status_code in (400, 404)  # Refused as a contradiction, or the path's course is looked for.
    status_of(response)
    assert (await http.get("/v1/enrollments", headers=student)).json()["enrollments"] == []


async def test_an_unknown_enum_value_is_refused(http: httpx.AsyncClient, people: People) -> None:
    student = await people.student()
    amount = {"minorUnits": "1", "currency": "AZR"}
    for kind in ("PAYMENT_TYPE_BRIBE", "PAYMENT_TYPE_UNSPECIFIED", 99):
        response = await http.post("/v1/payments", json={"type": kind, "amount": amount}, headers=student)
        assert response.status_code == 400, response.text
        status_of(response)


@pytest.mark.parametrize(
    "amount", [None, {"minorUnits": "0", "currency": "AZR"}, {"minorUnits": "-5", "currency": "AZR"}]
)
async def test_amounts_that_are_none_are_refused(http: httpx.AsyncClient, people: People, amount: Any) -> None:
    body = {"type": "PAYMENT_TYPE_DONATION", "amount": amount}
    response = await http.post("/v1/payments", json=body, headers=await people.student())
    assert response.status_code == 400
    assert reason_of(response) == "VALIDATION_FAILED"
    violations = next(detail for detail in response.json()["details"] if "fieldViolations" in detail)
    assert violations["fieldViolations"][0]["field"] == "amount"


HUNDRED = "1e2"
"""An integer, in the words of JSON and of proto3's mapping to it."""
AMOUNTS: list[tuple[str, str]] = [
    ("0", "VALIDATION_FAILED"),
    ("-1", "VALIDATION_FAILED"),
    ("null", "VALIDATION_FAILED"),
    ("9223372036854775807", "INSUFFICIENT_FUNDS"),
    (HUNDRED, "INSUFFICIENT_FUNDS"),
    ("9223372036854775808", ""),
    ('"9223372036854775808"', ""),
    ("1.5", ""),
    ('"1.5"', ""),
    ("1e400", ""),
    ('"1e400"', ""),
    ('"0x10"', ""),
    ("NaN", ""),
    ('"NaN"', ""),
]
JSON = {"content-type": "application/json"}


async def test_an_amount_that_is_none_moves_nothing(http: httpx.AsyncClient, people: People) -> None:
    headers = await people.student() | JSON
    for minor_units, reason in AMOUNTS:
        amount = f'"amount": {{"minorUnits": {minor_units}, "currency": "AZR"}}'
        body = f'{{"targetUserId": "{uuid4()}", {amount}}}'
        calls = {
            "/v1/payments": f'{{"type": "PAYMENT_TYPE_DONATION", {amount}}}',
            "/v1/transfers": body,
            "/v1/transfers:batchCreate": f'{{"transfers": [{body}], "requestId": "{uuid4()}"}}',
            "/v1/holds": f"{{{amount}}}",
        }
        for path, content in calls.items():
            response = await http.post(path, content=content, headers=headers)
            status_of(response)
            assert response.status_code == 400, f"{path} {minor_units}: {response.text}"
            assert reason in ("", reason_of(response)), f"{path} {minor_units}"
    assert (await http.get("/v1/transactions", headers=headers)).json()["transactions"] == []


async def test_an_amount_that_is_none_is_neither_earned_captured_nor_refunded(
    http: httpx.AsyncClient, people: People
) -> None:
    payer, admin = await people.student() | JSON, await people.admin() | JSON
    user_id = (await http.get("/v1/auth/profile", headers=payer)).json()["user"]["id"]
    hundred = {"minorUnits": "100", "currency": "AZR"}
    earned = {"userId": user_id, "amount": {**hundred, "minorUnits": "500"}, "reference": str(uuid4())}
    assert (await http.post("/v1/earn", json=earned, headers=admin)).status_code == 200
    pay = {"type": "PAYMENT_TYPE_DONATION", "amount": hundred}
    paid = (await http.post("/v1/payments", json=pay, headers=payer)).json()["payment"]
    held = (await http.post("/v1/holds", json={"amount": hundred}, headers=payer)).json()["hold"]
    before = (await http.get("/v1/wallet", headers=payer)).json()

    def calls(minor_units: str) -> dict[str, tuple[str, dict[str, str]]]:
        amount = f'"amount": {{"minorUnits": {minor_units}, "currency": "AZR"}}'
        return {
            "/v1/earn": (f'{{"userId": "{user_id}", "reference": "{uuid4()}", {amount}}}', admin),
            f"/v1/holds/{held['id']}:capture": (f"{{{amount}}}", payer),
            "/v1/refunds": (f'{{"paymentId": "{paid["id"]}", {amount}}}', payer),
        }

    for minor_units, _ in AMOUNTS:
        for path, (content, headers) in calls(minor_units).items() if minor_units != HUNDRED else ():
            response = await http.post(path, content=content, headers=headers)
            status_of(response)
            assert response.status_code == 400, f"{path} {minor_units}: {response.text}"
    assert (await http.get("/v1/wallet", headers=payer)).json() == before
    for path, (content, headers) in calls(HUNDRED).items():
        assert (await http.post(path, content=content, headers=headers)).status_code == 200, path
    balance = (await http.get("/v1/wallet", headers=payer)).json()["wallet"]["balances"][0]
    assert (balance["posted"], balance["held"]) == ("500", "0")


async def test_a_transfer_is_made_quoted_and_read_as_json(http: httpx.AsyncClient, people: People) -> None:
    sender, admin = await people.student(), await people.admin()
    users = [(await http.get("/v1/auth/profile", headers=person)).json()["user"]["id"] for person in (sender, admin)]
    hundred = {"minorUnits": "100", "currency": "AZR"}
    earned = {"userId": users[0], "amount": hundred, "reference": str(uuid4())}
    assert (await http.post("/v1/earn", json=earned, headers=admin)).status_code == 200
    body = {"targetUserId": users[1], "amount": {"minorUnits": "40", "currency": "AZR"}, "requestId": "t"}
    quoted = (await http.post("/v1/transfers", json=body | {"validateOnly": True}, headers=sender)).json()["transfer"]
    assert (quoted["id"], quoted["amount"]["minorUnits"]) == ("", "40")
    made = (await http.post("/v1/transfers", json=body, headers=sender)).json()["transfer"]
    assert (await http.get(f"/v1/transfers/{made['id']}", headers=sender)).json() == {"transfer": made}
    both = {"targetUserId": users[1], "targetWalletId": made["targetWalletId"]}
    response = await http.post("/v1/transfers", json=body | both, headers=sender)
    status_of(response)
    assert response.status_code == 400
    results = (
        await http.post(
            "/v1/transfers:batchCreate",
            json={"transfers": [{**body, "requestId": ""}] * 2, "returnPartialSuccess": True},
            headers=sender,
        )
    ).json()["results"]
    assert results[0]["transfer"]["targetUserId"] == users[1]
    assert results[1]["error"]["details"][0]["reason"] == "INSUFFICIENT_FUNDS"


async def test_nobody_mints_and_nobody_registers_as_more_than_a_student(
    http: httpx.AsyncClient, people: People
) -> None:
    student = await people.student()
    body = {"userId": str(uuid4()), "amount": {"minorUnits": "5", "currency": "AZR"}, "reference": "mine"}
    for identity in ({}, {"x-forwarded-client-cert": "URI=spiffe://azora.local/ns/default/sa/education"}):
        response = await http.post("/v1/earn", json=body, headers=student | identity)
        assert response.status_code == 403
        assert reason_of(response) == "ACCESS_DENIED"
    email = f"{uuid4()}@azora.world"
    made = await http.post(
        "/v1/auth/register",
        json={"email": email, "password": "a long walk to the library", "name": "Eve", "role": "ROLE_ADMIN"},
    )
    assert made.json()["user"]["role"] == "ROLE_STUDENT"


async def test_progress_is_counted_whatever_a_completion_says_of_it(http: httpx.AsyncClient, people: People) -> None:
    student = await people.student()
    courses = (await http.get("/v1/courses")).json()["courses"]
    free = next(course for course in courses if course["title"] == "Python Programming Basics")
    enrolled = (await http.post(f"/v1/courses/{free['id']}/enroll", json={}, headers=student)).json()["enrollment"]
    enrollment = f"/v1/enrollments/{enrolled['id']}"
    lesson = (await http.get(f"{enrollment}/progress", headers=student)).json()["lessons"][0]["lessonId"]
    body = {"progress": {"completedLessons": 99, "basisPoints": 10000}}
    response = await http.post(f"{enrollment}/lessons/{lesson}:complete", json=body, headers=student)
    assert response.status_code == 200, response.text  # Fields that the contract does not know are ignored.
    progress = (await http.get(f"{enrollment}/progress", headers=student)).json()["progress"]
    assert progress["completedLessons"] == 1 < progress["requiredLessons"]


async def test_another_persons_things_do_not_exist(http: httpx.AsyncClient, people: People) -> None:
    one, other = await people.student(), await people.student()
    courses = (await http.get("/v1/courses")).json()["courses"]
    free = next(course for course in courses if course["price"]["minorUnits"] == "0")
    enrolled = (await http.post(f"/v1/courses/{free['id']}/enroll", json={}, headers=one)).json()["enrollment"]
    for path in (f"/v1/enrollments/{enrolled['id']}", f"/v1/enrollments/{enrolled['id']}/progress"):
        assert (await http.get(path, headers=one)).status_code == 200
        response = await http.get(path, headers=other)
        assert response.status_code == 404
        assert reason_of(response) == "ENROLLMENT_NOT_FOUND"


async def test_native_callers_get_statuses_too(edge: str, people: People) -> None:
    student = client.bearer((await people.student())["authorization"].removeprefix("Bearer "))
    async with aio.insecure_channel(edge.removeprefix("http://")) as channel:
        raw: Any = channel.unary_unary
        calls: list[tuple[Any, StatusCode, str]] = [
            (raw("/azora.auth.v1.AuthService/Nothing")(b""), StatusCode.NOT_FOUND, ""),
            (
                raw("/azora.education.v1.InternalService/CloseEnrollment")(b"", metadata=student),
                StatusCode.NOT_FOUND,
                "",
            ),
            (
                raw("/azora.payment.v1.PaymentService/CreateHold")(b"\xff\xff", metadata=student),
                StatusCode.INVALID_ARGUMENT,
                "MALFORMED_REQUEST",
            ),
            (
                auth_service_pb2_grpc.AuthServiceStub(channel).GetProfile(auth_service_pb2.GetProfileRequest()),
                StatusCode.UNAUTHENTICATED,
                "",
            ),
            (
                payment_service_pb2_grpc.PaymentServiceStub(channel).CreatePayment(
                    payment_service_pb2.CreatePaymentRequest(), metadata=student
                ),
                StatusCode.INVALID_ARGUMENT,
                "VALIDATION_FAILED",
            ),
        ]
        for call, code, reason in calls:
            with pytest.raises(aio.AioRpcError) as caught:
                await call
            assert caught.value.code() in (code, StatusCode.UNIMPLEMENTED if code is StatusCode.NOT_FOUND else code)
            assert not reason or client.error_reason(caught.value) == reason


async def test_half_a_request_and_no_http_at_all_do_no_harm(edge: str, http: httpx.AsyncClient) -> None:
    host, _, port = edge.removeprefix("http://").partition(":")
    for garbage in (b"\x16\x03\x01\x00\x00", b"GET / HTTP/1.1\r\nHost", b"\x00" * 1000, b"POST / HTTP/9.9\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(garbage)
    answers = await asyncio.gather(*(http.get("/health") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
