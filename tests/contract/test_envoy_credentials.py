"""Credentials through the edge: what verifiers of other makes ask for is in the form of their standards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from azora.education.v1 import credential_service_pb2 as pb

from services.education.credentials import convert
from services.education.credentials.model import CredentialKey, Issuer

if TYPE_CHECKING:
    import httpx
    from google.api import httpbody_pb2

    from tests.support.edge import Edge

pytestmark = pytest.mark.asyncio(loop_scope="session")

ISSUER = Issuer("https://api.example.com", "Azora")


async def test_the_issuer_and_its_keys_are_json_as_their_standards_have_it(http: httpx.AsyncClient, edge: Edge) -> None:
    async def issuer(_call: Any, _context: Any) -> bytes:
        return convert.get_issuer_response(ISSUER).SerializeToString()

    async def jwks(_call: Any, _context: Any) -> bytes:
        return convert.get_jwks_response([ISSUER.jwk(key)]).SerializeToString()

    key = CredentialKey("1", "nnn", "AQAB", b"", datetime.now(UTC))
    for replica in edge.replicas["education"]:
        replica.answers |= {"GetIssuer": issuer, "GetJwks": jwks}
    assert (await http.get("/v1/credentials/issuer")).json() == {
        "@context": [
            "https://www.w3.org/ns/credentials/v2",
            "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json",
        ],
        "id": "https://api.example.com/v1/credentials/issuer",
        "type": ["Profile"],
        "name": "Azora",
        "url": "https://api.example.com",
    }
    assert (await http.get("/v1/credentials/jwks")).json() == {"keys": [ISSUER.jwk(key)]}


async def test_a_status_list_is_the_token_itself(http: httpx.AsyncClient, edge: Edge) -> None:
    async def status_list(_call: Any, _context: Any) -> bytes:
        body: httpbody_pb2.HttpBody = convert.status_list_body("e30.e30.c2ln" + "x" * 30_000)
        return bytes(body.SerializeToString())

    for replica in edge.replicas["education"]:
        replica.answers["GetStatusList"] = status_list
    answer = await http.get("/v1/credentials/status?number=2")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vc+jwt"
    assert answer.text.startswith("e30.e30.c2ln")
    assert len(answer.text) == 30_012
    (call,) = edge.received("education")
    assert pb.GetStatusListRequest.FromString(call.message).number == 2
