"""What the real Envoy makes of form bodies, which the contract declares, and of API keys on interactive methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import token_service_pb2

from tests.support.edge import CONTRACT, error_info, failure
from tests.support.refusals import described

if TYPE_CHECKING:
    import httpx
    from grpc import aio

    from tests.support.edge import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORM = "application/x-www-form-urlencoded"
INTROSPECT, REVOKE = "/oauth2/introspect", "/oauth2/revoke"
TOKEN_SERVICE = "/azora.auth.v1.TokenService"
BODY = b"token=a%20token&token_type_hint=access_token"


async def inactive(_call: Any, _context: Any) -> bytes:
    return token_service_pb2.IntrospectResponse(active=False).SerializeToString()


async def active(_call: Any, _context: Any) -> bytes:
    answer = token_service_pb2.IntrospectResponse(active=True, token_type="Bearer", exp=1_800_000_000, sub="a user")
    return answer.SerializeToString()


async def post(http: httpx.AsyncClient, edge: Edge, path: str, content_type: str, body: bytes = BODY) -> httpx.Response:
    headers = edge.bearer(roles=["ROLE_ADMIN"]) | ({"content-type": content_type} if content_type else {})
    return await http.post(path, content=body, headers=headers)


@pytest.mark.parametrize(("path", "kind"), [(INTROSPECT, "IntrospectRequest"), (REVOKE, "RevokeRequest")])
@pytest.mark.parametrize("content_type", [FORM, FORM.upper(), f"{FORM}; charset=utf-8", f"{FORM};charset=utf-8"])
async def test_a_form_arrives_as_it_was_sent(
    http: httpx.AsyncClient, edge: Edge, path: str, kind: str, content_type: str
) -> None:
    assert (await post(http, edge, path, content_type)).status_code == 200
    (call,) = edge.received("auth")
    request = getattr(token_service_pb2, kind).FromString(call.message)
    assert (request.body.content_type, request.body.data) == (content_type, BODY)


async def test_an_inactive_token_answers_exactly_that(http: httpx.AsyncClient, edge: Edge) -> None:
    edge.replicas["auth"][0].answers["Introspect"] = inactive
    answer = await post(http, edge, INTROSPECT, FORM)
    assert (answer.status_code, answer.json()) == (200, {"active": False})
    assert answer.headers["cache-control"] == "no-store"


async def test_the_members_of_an_active_token_have_the_names_and_types_of_rfc_7662(
    http: httpx.AsyncClient, edge: Edge
) -> None:
    edge.replicas["auth"][0].answers["Introspect"] = active
    answer = await post(http, edge, INTROSPECT, FORM)
    assert answer.json() == {"active": True, "token_type": "Bearer", "exp": 1_800_000_000, "sub": "a user"}


async def test_an_unknown_token_is_revoked_with_200(http: httpx.AsyncClient, edge: Edge) -> None:
    answer = await http.post(REVOKE, content=BODY, headers={"content-type": FORM})
    assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize("path", [INTROSPECT, REVOKE])
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "text/plain",
        "multipart/form-data; boundary=x",
        f"{FORM}x",
        f"x{FORM}",
        f"{FORM}, text/plain",
    ],
)
async def test_other_content_types_than_the_declared_are_refused(
    http: httpx.AsyncClient, edge: Edge, path: str, content_type: str
) -> None:
    answer = await post(http, edge, path, content_type)
    assert (answer.status_code, error_info(answer.json())["reason"]) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert not edge.received("auth")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/auth/login",
        "/v1/auth/apiKeys:exchange",
        "/v1/auth/tokens:introspect",
        f"{INTROSPECT}/../../v1/auth/login",
        f"/v1/auth/login?{INTROSPECT}",
        f"/v1/auth/login#{INTROSPECT}",
        f"{INTROSPECT}x",
    ],
)
async def test_a_form_is_refused_wherever_none_is_declared(http: httpx.AsyncClient, edge: Edge, path: str) -> None:
    """A browser sends one to other sites without asking them first."""
    answer = await post(http, edge, path, FORM)
    assert (answer.status_code, error_info(answer.json())["reason"]) == (415, "CONTENT_TYPE_UNSUPPORTED")
    assert not edge.received("auth")


async def test_typed_clients_call_the_same_methods(edge: Edge, channel: aio.Channel) -> None:
    metadata = tuple(edge.bearer(roles=["ROLE_ADMIN"]).items())
    for method in ("Introspect", "IntrospectToken", "Revoke", "RevokeToken"):
        call: Any = channel.unary_unary(f"{TOKEN_SERVICE}/{method}")
        await call(b"", metadata=metadata)
    assert len(edge.received("auth")) == 4


async def test_a_form_as_large_as_other_requests_is_left_to_the_service(http: httpx.AsyncClient, edge: Edge) -> None:
    assert (await post(http, edge, INTROSPECT, FORM, b"token=" + b"x" * 60_000)).status_code == 200
    refused = await post(http, edge, INTROSPECT, FORM, b"token=" + b"x" * 70_000)
    assert (refused.status_code, error_info(refused.json())["reason"]) == (413, "REQUEST_TOO_LARGE")


async def test_an_api_keys_token_does_not_get_to_an_interactive_method(
    http: httpx.AsyncClient, edge: Edge, channel: aio.Channel
) -> None:
    interactive = [policy for policy in CONTRACT.policies.values() if policy.interactive]
    assert interactive
    for scope in ("auth.read auth.write", ""):
        headers = edge.bearer(scope=scope)
        for policy in interactive:
            found = described(await failure(channel, policy.path, b"", headers))
            assert (found.code, found.reason) == ("PERMISSION_DENIED", "INTERACTIVE_SIGN_IN_REQUIRED"), policy.path
        answer = await http.get("/v1/auth/sessions", headers=headers)
        assert (answer.status_code, error_info(answer.json())["reason"]) == (403, "INTERACTIVE_SIGN_IN_REQUIRED")
    assert not edge.received("auth")
    assert (await http.get("/v1/auth/profile", headers=headers)).status_code == 200
    assert (await http.get("/v1/auth/sessions", headers=edge.bearer())).status_code == 200
