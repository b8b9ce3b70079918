"""What the edge refuses, and how it says so: one shape of error in JSON, gRPC and gRPC-Web, never a 5xx of ours."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.support.edge import ORIGIN, Edge, error_info, failure

if TYPE_CHECKING:
    import httpx
    from grpc import aio

pytestmark = pytest.mark.asyncio(loop_scope="session")

JSON = {"content-type": "application/json"}
EMPTY_FRAME = bytes(5)
MIB = 1024 * 1024
PROFILE = "/azora.auth.v1.AuthService/GetProfile"


class Refusal(NamedTuple):
    """A request over HTTP and what it is answered."""

    request: dict[str, Any]
    status: int
    code: int
    reason: str


REFUSED: dict[str, Refusal] = {
    "unknown route": Refusal({"url": "/v1/nothing"}, 404, 5, "ROUTE_NOT_FOUND"),
    "wrong method": Refusal({"method": "DELETE", "url": "/v1/wallet"}, 404, 5, "ROUTE_NOT_FOUND"),
    "unknown verb": Refusal({"url": "/v1/courses/1:bogus"}, 404, 5, "ROUTE_NOT_FOUND"),
    "unknown query field": Refusal({"url": "/v1/courses?nothing=1"}, 400, 3, "MALFORMED_REQUEST"),
    "malformed JSON": Refusal(
        {"method": "POST", "url": "/v1/auth/login", "content": "{bad", "headers": JSON},
        400,
        3,
        "MALFORMED_REQUEST",
    ),
    "value of a wrong type": Refusal(
        {"method": "POST", "url": "/v1/auth/login", "json": {"email": {}}},
        400,
        3,
        "MALFORMED_REQUEST",
    ),
    "text body": Refusal(
        {"method": "POST", "url": "/v1/auth/login", "content": "{}", "headers": {"content-type": "text/plain"}},
        415,
        3,
        "CONTENT_TYPE_UNSUPPORTED",
    ),
    "form body": Refusal(
        {"method": "POST", "url": "/v1/auth/login", "data": {"email": "a"}},
        415,
        3,
        "CONTENT_TYPE_UNSUPPORTED",
    ),
    "body without a type": Refusal(
        {"method": "POST", "url": "/v1/auth/login", "content": b"{}"},
        415,
        3,
        "CONTENT_TYPE_UNSUPPORTED",
    ),
    "oversized body": Refusal(
        {"method": "POST", "url": "/v1/auth/login", "json": {"email": "a" * MIB}},
        413,
        8,
        "REQUEST_TOO_LARGE",
    ),
    "oversized headers": Refusal(
        {"url": "/v1/wallet", "headers": {"x-long": "a" * 20_000}}, 431, 8, "REQUEST_TOO_LARGE"
    ),
    "underscore in a header": Refusal({"url": "/v1/courses", "headers": {"x_y": "1"}}, 400, 3, "HTTP_REQUEST_INVALID"),
    "escaped slash": Refusal({"url": "/v1/courses/a%2Fb"}, 400, 3, "HTTP_REQUEST_INVALID"),
    "no token": Refusal({"url": "/v1/auth/profile"}, 401, 16, "TOKEN_MISSING"),
    "garbage token": Refusal(
        {"url": "/v1/auth/profile", "headers": {"authorization": "Bearer garbage"}},
        401,
        16,
        "TOKEN_INVALID",
    ),
    "internal RPC": Refusal(
        {"method": "POST", "url": "/azora.education.v1.InternalService/CloseEnrollment", "json": {}},
        404,
        5,
        "ROUTE_NOT_FOUND",
    ),
    "no one behind it": Refusal({"url": "/health"}, 503, 14, "DEPENDENCY_UNAVAILABLE"),
}


@pytest.mark.parametrize("refusal", REFUSED.values(), ids=REFUSED)
async def test_a_refusal_over_http_is_a_status_in_json(http: httpx.AsyncClient, edge: Edge, refusal: Refusal) -> None:
    answer = await http.request(**{"method": "GET"} | refusal.request)

    assert answer.status_code == refusal.status
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["code"] == refusal.code
    assert body["message"]
    assert error_info(body) == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": refusal.reason,
        "domain": "azora.dev",
        "metadata": {},  # Printed without a value, as the services' errors have it.
    }
    assert not any(edge.received(service) for service in edge.replicas), "no service is troubled with it"


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        (("transfer-encoding: chunked",), 415, "CONTENT_TYPE_UNSUPPORTED"),
        (("transfer-encoding: foo", "content-type: application/json"), 501, "ENCODING_UNSUPPORTED"),
        (("transfer-encoding: gzip, chunked", "content-type: application/json"), 501, "ENCODING_UNSUPPORTED"),
    ],
)
async def test_a_refusal_of_a_transfer_is_a_status_too(
    edge: Edge, headers: tuple[str, ...], status: int, reason: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.profile.public.port)
    lines = (
        "POST /v1/auth/login HTTP/1.1",
        "host: localhost",
        *headers,
        "connection: close",
        "",
        "2\r\n{}\r\n0",
        "",
        "",
    )
    writer.write("\r\n".join(lines).encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert error_info(json.loads(body))["reason"] == reason


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": int(time.time()) - 60}, "TOKEN_EXPIRED"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"aud": "another"}, "TOKEN_INVALID"),
        ({"iss": "https://another.local"}, "TOKEN_INVALID"),
    ],
)
async def test_a_token_that_is_not_for_us_is_refused(
    http: httpx.AsyncClient, edge: Edge, claims: dict[str, Any], reason: str
) -> None:
    answer = await http.get("/v1/auth/profile", headers=edge.bearer(**claims))
    assert (answer.status_code, error_info(answer.json())["reason"]) == (401, reason)


async def test_a_token_in_the_query_is_not_taken(http: httpx.AsyncClient, edge: Edge) -> None:
    answer = await http.get("/v1/auth/profile", params={"access_token": edge.signer.token()})
    assert answer.status_code == 400


class GrpcRefusal(NamedTuple):
    """A call over gRPC and what it is answered."""

    path: str
    headers: dict[str, str]
    message: bytes
    code: grpc.StatusCode
    reason: str


GRPC_REFUSED: dict[str, GrpcRefusal] = {
    "no token": GrpcRefusal(PROFILE, {}, b"", grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"),
    "garbage token": GrpcRefusal(
        PROFILE,
        {"authorization": "Bearer garbage"},
        b"",
        grpc.StatusCode.UNAUTHENTICATED,
        "TOKEN_INVALID",
    ),
    "internal RPC": GrpcRefusal(
        "/azora.education.v1.InternalService/CloseEnrollment",
        {},
        b"",
        grpc.StatusCode.UNIMPLEMENTED,
        "ROUTE_NOT_FOUND",
    ),
    "unknown method": GrpcRefusal(
        "/azora.auth.v1.AuthService/Nothing",
        {},
        b"",
        grpc.StatusCode.UNIMPLEMENTED,
        "ROUTE_NOT_FOUND",
    ),
    "unknown service": GrpcRefusal("/nobody.Any/None", {}, b"", grpc.StatusCode.UNIMPLEMENTED, "ROUTE_NOT_FOUND"),
    "oversized message": GrpcRefusal(
        "/azora.auth.v1.AuthService/Login",
        {},
        bytes(MIB + 1),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "REQUEST_TOO_LARGE",
    ),
    "a client that says it was transcoded": GrpcRefusal(
        PROFILE,
        {"x-envoy-original-path": "/v1/auth/profile"},
        b"",
        grpc.StatusCode.UNAUTHENTICATED,
        "TOKEN_MISSING",
    ),
}


@pytest.mark.parametrize("refusal", GRPC_REFUSED.values(), ids=GRPC_REFUSED)
@pytest.mark.usefixtures("http")
async def test_a_refusal_over_grpc_has_code_and_details(channel: aio.Channel, refusal: GrpcRefusal) -> None:
    refused = await failure(channel, refusal.path, refusal.message, refusal.headers)

    assert refused.code() is refusal.code
    status = rpc_status.from_call(refused)  # type: ignore[arg-type]  # It checks that code and message agree with it.
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (refusal.reason, "azora.dev")


@pytest.mark.parametrize(("path", "body", "code"), [("GetProfile", EMPTY_FRAME, "16"), ("Login", bytes(2 * MIB), "8")])
async def test_a_refusal_over_grpc_web_is_in_the_headers(
    http: httpx.AsyncClient, path: str, body: bytes, code: str
) -> None:
    headers = {"content-type": "application/grpc-web+proto", "origin": ORIGIN}
    answer = await http.post(f"/azora.auth.v1.AuthService/{path}", content=body, headers=headers)

    assert (answer.status_code, answer.headers["grpc-status"], answer.content) == (200, code, b"")
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    assert answer.headers["grpc-status-details-bin"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN
