"""The real grpc-gateway, over the same contract, answers as Envoy does, but for what docs/grpc-gateway.md lists."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from tests.support.grpc_gateway import build, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.system import LocalSystem

STUDENT = {"email": "student@azora.world", "password": "Student@2024!"}
ADMIN = {"email": "admin@azora.world", "password": "Admin@2024!"}
UNKNOWN = "00000000-0000-7000-8000-000000000000"
ONE = {"amount": {"minorUnits": "1", "currency": "AZR"}}
VOLATILE = {"accessToken", "refreshToken", "deviceToken", "updateTime"}
PAGE = Path(__file__).parents[2] / "docs/grpc-gateway.md"
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request. Names in braces stand for what the system was seeded with."""

    method: str
    path: str
    body: Any = None
    by: Mapping[str, str] | None = None
    """Who calls; nobody signed in if None."""
    content_type: str = "application/json"
    """Of the body."""

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.content.decode()}".strip()

    @property
    def content(self) -> bytes:
        """The body's bytes, JSON unless it is bytes already."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return json.dumps(self.body, ensure_ascii=False).encode()


CALLS = (
    # Reads: default values, unset messages, 64-bit numbers, enums, times, names with underscores.
    Call("GET", "/v1/courses"),
    Call("GET", "/v1/courses/{course}"),
    Call("GET", "/v1/roles", by=STUDENT),
    Call("GET", "/v1/auth/profile", by=STUDENT),
    Call("GET", "/v1/wallet", by=STUDENT),
    Call("GET", "/v1/transactions", by=STUDENT),
    Call("GET", "/v1/enrollments", by=STUDENT),
    Call("GET", "/v1/enrollments/{enrollment}/progress", by=STUDENT),
    Call("GET", "/v1/ledger/checkpointKeys", by=ADMIN),
    Call("GET", "/.well-known/jwks.json"),
    Call("GET", "/.well-known/openid-configuration"),
    Call("GET", "/v1/credentials/status"),  # Not JSON.
    # Paths: additional bindings, verbs, escapes.
    Call("GET", "/v1/wallets/{wallet}", by=STUDENT),
    Call("GET", "/v1/courses:search?query=web+development"),
    Call("GET", "/v1/courses:search?query=web%20development"),
    Call("GET", "/v1/courses/%7Bcourse%7D"),
    # Query parameters: both names of a field, numbers, enums by name and number, times, optional 64-bit numbers.
    Call("GET", "/v1/courses?pageSize=1"),
    Call("GET", "/v1/courses?page_size=1"),
    Call("GET", "/v1/courses?pageSize=-1"),
    Call("GET", "/v1/courses/{course}?view=COURSE_VIEW_PUBLISHED&revision=1"),
    Call("GET", "/v1/courses/{course}?view=1"),
    Call("GET", "/v1/courses?mine=true", by=STUDENT),
    Call("GET", "/v1/transactions?minAmount=-5000000000&startTime=2026-01-01T00:00:00Z", by=STUDENT),
    # Writes: the same key has the same answer, whoever translates.
    Call("POST", "/v1/auth/login", STUDENT),
    Call("POST", "/v1/holds", ONE, by=STUDENT),
    Call("POST", "/v1/holds", {"amount": {"minorUnits": 2, "currency": "AZR"}, "expireAfter": "60s"}, by=STUDENT),
    Call("POST", "/v1/holds", {"amount": {"minor_units": "3", "currency": "AZR"}, "type": 3}, by=STUDENT),
    Call("POST", "/v1/holds", {**ONE, "description": None}, by=STUDENT),
    Call("POST", "/v1/holds/{hold}:release", {}, by=STUDENT),
    Call("POST", "/v1/holds/{hold}:release", {"holdId": UNKNOWN}, by=STUDENT),
    Call("PATCH", "/v1/auth/profile?updateMask=bio,location", {"bio": "é ☕", "location": ""}, by=STUDENT),
    Call("PATCH", "/v1/auth/profile", {"bio": "Hello"}, by=STUDENT),
    # Errors, those that Envoy answers gRPC clients among them.
    Call("GET", "/v1/wallet"),
    Call("GET", "/v1/wallet", by={"token": "no token"}),
    Call("GET", "/v1/users", by=STUDENT),
    Call("GET", f"/v1/enrollments/{UNKNOWN}", by=STUDENT),
    Call("POST", "/v1/courses/{course}/enroll", by=STUDENT),  # Without a body.
    Call("POST", "/v1/auth/register", {"email": "", "password": "short", "name": ""}),
    Call("POST", "/v1/payments", {"amount": {"minorUnits": "9000000000000000000", "currency": "AZR"}}, by=STUDENT),
    Call("POST", f"/v1/holds/{UNKNOWN}:capture", {"amount": {"minorUnits": "-1", "currency": "AZR"}}, by=STUDENT),
    Call("PATCH", "/v1/auth/profile?updateMask=email", {"email": "x@azora.world"}, by=STUDENT),
    Call("DELETE", "/v1/auth/profile", {"password": "wrong"}, by=STUDENT),
    Call("DELETE", f"/v1/auth/sessions/{UNKNOWN}", by=STUDENT),
)


NO_DETAILS = '"details":[]'
DIFFERENT = {
    "unknown path": (Call("GET", "/v1/nothing"), (404, "ROUTE_NOT_FOUND"), (404, NO_DETAILS)),
    "other method": (Call("PUT", "/v1/wallet", {}), (404, "ROUTE_NOT_FOUND"), (501, NO_DETAILS)),
    "unknown verb": (Call("GET", "/v1/courses/{course}:x"), (404, "ROUTE_NOT_FOUND"), (400, "VALIDATION_FAILED")),
    "escaped slash": (Call("GET", "/v1/courses/a%2Fb"), (400, "HTTP_REQUEST_INVALID"), (404, NO_DETAILS)),
    "trailing slash": (Call("GET", "/v1/courses/"), (200, "nextPageToken"), (400, "VALIDATION_FAILED")),
    "unknown parameter": (Call("GET", "/v1/courses?x=1"), (400, "MALFORMED_REQUEST"), (200, "nextPageToken")),
    "repeated parameter": (Call("GET", "/v1/courses?pageSize=1&pageSize=2"), (200, "nextPageToken"), (400, NO_DETAILS)),
    "invalid parameter": (Call("GET", "/v1/courses?pageSize=x"), (400, "MALFORMED_REQUEST"), (400, NO_DETAILS)),
    "unknown field": (Call("POST", "/v1/auth/login", {**STUDENT, "x": 1}), (200, "accessToken"), (400, NO_DETAILS)),
    "repeated field": (
        Call("POST", "/v1/auth/login", b'{"email": "x", ' + json.dumps(STUDENT).encode()[1:]),
        (200, "accessToken"),
        (400, NO_DETAILS),
    ),
    "malformed JSON": (Call("POST", "/v1/auth/login", b"{"), (400, "MALFORMED_REQUEST"), (400, NO_DETAILS)),
    "data after the JSON": (
        Call("POST", "/v1/auth/login", json.dumps(STUDENT).encode() + b" x"),
        (400, "MALFORMED_REQUEST"),
        (200, "accessToken"),
    ),
    "other content type": (
        Call("POST", "/v1/auth/login", STUDENT, content_type="text/plain"),
        (415, "CONTENT_TYPE_UNSUPPORTED"),
        (200, "accessToken"),
    ),
    "form": (Call("POST", "/oauth2/revoke", b"token=x", content_type=FORM), (200, "{}"), (400, NO_DETAILS)),
    "stream of bytes": (
        Call("GET", "/v1/wallet/statement?format=STATEMENT_FORMAT_CSV", by=STUDENT),
        (200, "description\r\n,,OPENING_BALANCE,,,0,AZR,,,,,\r\n1,"),
        (200, "description\r\n,,OPENING_BALANCE,,,0,AZR,,,,,\r\n\n1,"),
    ),
}
"""By their row in the page: a request, and of each response the status and an excerpt, Envoy's first."""
STREAMED = ("stream of messages", "server-sent events")
REFUSED = "headers of an error"


@dataclass(frozen=True, slots=True)
class Gateways:
    """The same system behind Envoy and behind grpc-gateway."""

    envoy: httpx.Client
    other: httpx.Client
    names: Mapping[str, str]
    """What the system was seeded with."""
    tokens: Mapping[str, str]
    """Access tokens by e-mail address."""

    def both(self, call: Call) -> tuple[httpx.Response, httpx.Response]:
        """Return Envoy's response, and the other's to the same request with the same idempotency key."""
        key = str(uuid4())
        return self.send(self.envoy, call, key), self.send(self.other, call, key)

    def send(self, client: httpx.Client, call: Call, key: str) -> httpx.Response:
        """Return a gateway's response."""
        path = call.path
        for name, value in self.names.items():
            path = path.replace(f"{{{name}}}", value)
        headers = {"idempotency-key": key}
        if call.content:
            headers["content-type"] = call.content_type
        if call.by is not None:
            headers |= self.authorization(call.by)
        return client.request(call.method, path, headers=headers, content=call.content)

    def authorization(self, who: Mapping[str, str]) -> dict[str, str]:
        """Return the header of a caller."""
        return {"authorization": f"Bearer {who.get('token') or self.tokens[who['email']]}"}


@pytest.fixture(scope="module")
def gateways(system: LocalSystem) -> Iterator[Gateways]:
    with (
        running(build(), system.target) as url,
        httpx.Client(base_url=system.edge, timeout=20, trust_env=False) as envoy,
        httpx.Client(base_url=url, timeout=20, trust_env=False) as other,
    ):
        tokens = {
            who["email"]: envoy.post("/v1/auth/login", json=who).json()["accessToken"] for who in (STUDENT, ADMIN)
        }
        student = {"authorization": f"Bearer {tokens[STUDENT['email']]}"}
        (enrollment, *_) = envoy.get("/v1/enrollments", headers=student).json()["enrollments"]
        names = {
            "course": enrollment["courseId"],
            "enrollment": enrollment["id"],
            "wallet": envoy.get("/v1/wallet", headers=student).json()["wallet"]["id"],
            "hold": envoy.post("/v1/holds", json=ONE, headers=student).json()["hold"]["id"],
        }
        yield Gateways(envoy, other, names, tokens)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_the_same_request_has_the_same_response(call: Call, gateways: Gateways) -> None:
    envoy, other = gateways.both(call)
    assert (other.status_code, _content(other)) == (envoy.status_code, _content(envoy))
    assert other.headers["content-type"] == envoy.headers["content-type"]


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_as_the_page_says(name: str, gateways: Gateways) -> None:
    call, *expected = DIFFERENT[name]
    for response, (status, excerpt) in zip(gateways.both(call), expected, strict=True):
        assert response.status_code == status, response.text
        assert excerpt in response.text.replace(" ", "")


def test_messages_of_a_stream_are_the_same_but_for_their_envelope(gateways: Gateways) -> None:
    bare, wrapped = (_first(client, "application/json", gateways) for client in (gateways.envoy, gateways.other))
    assert json.loads(wrapped) == {"result": json.loads(bare)}
    assert "transaction" in json.loads(bare)


def test_server_sent_events_are_envoys_alone(gateways: Gateways) -> None:
    events, lines = (_first(client, "text/event-stream", gateways) for client in (gateways.envoy, gateways.other))
    assert {"result": json.loads(events.removeprefix("data: "))} == json.loads(lines)


def test_a_replayed_success_says_so_and_a_replayed_error_by_envoy_alone(gateways: Gateways) -> None:
    too_much = {"type": "PAYMENT_TYPE_DONATION", "amount": {"minorUnits": "900000000", "currency": "AZR"}}
    for call, says in (
        (Call("POST", "/v1/holds", ONE, by=STUDENT), True),
        (Call("POST", "/v1/payments", too_much, by=STUDENT), False),
    ):
        key = str(uuid4())
        first, replayed, other = (
            gateways.send(client, call, key) for client in (gateways.envoy, gateways.envoy, gateways.other)
        )
        assert first.content == replayed.content
        assert replayed.headers["idempotent-replayed"] == "true"
        assert ("idempotent-replayed" in other.headers) is says


def test_the_page_has_a_row_for_each_difference() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", PAGE.read_text(), re.MULTILINE)[1:]
    assert [row for row in rows if not row.startswith("-")] == [*DIFFERENT, *STREAMED, REFUSED]


def _first(client: httpx.Client, accept: str, gateways: Gateways) -> str:
    """Return the first line of a watch of the student's history."""
    headers = {"accept": accept} | gateways.authorization(STUDENT)
    with client.stream("GET", "/v1/transactions:watch?afterSequence=0", headers=headers) as response:
        return next(response.iter_lines())


def _content(response: httpx.Response) -> Any:
    """Return the JSON of a response without what differs from one time to the next, or its bytes."""
    if response.headers["content-type"] != "application/json":
        return response.content
    return _without_volatile(response.json())


def _without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_volatile(inner) for name, inner in value.items() if name not in VOLATILE}
    return value
