"""What the edge answers a sign-in does not tell whether an e-mail address has an account: no byte differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import pytest
from azora import client
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from grpc import aio

from tests.support.people import PASSWORD

if TYPE_CHECKING:
    import httpx

    from tests.support.system import LocalSystem

OWN = {"date", "x-request-id", "x-envoy-upstream-service-time"}
"""What differs between any two answers."""


class Addresses(NamedTuple):
    """Of the same length, with an account and without."""

    known: str
    unknown: str


@pytest.fixture
async def addresses(http: httpx.AsyncClient) -> Addresses:
    known, unknown = [f"{uuid4()}@azora.world" for _ in range(2)]
    body = {"email": known, "password": PASSWORD, "name": "Thandi Test"}
    assert (await http.post("/v1/auth/register", json=body)).status_code == 200
    return Addresses(known, unknown)


async def test_known_and_unknown_addresses_are_answered_alike_in_json(
    http: httpx.AsyncClient, addresses: Addresses
) -> None:
    answers = [
        await http.post("/v1/auth/login", json={"email": email, "password": "a wrong password"}) for email in addresses
    ]
    known, unknown = [
        (
            answer.http_version,
            answer.status_code,
            answer.reason_phrase,
            [(name, b"" if name.decode().lower() in OWN else value) for name, value in answer.headers.raw],
            answer.content,
        )
        for answer in answers
    ]
    assert known == unknown
    assert known[1] == 401


async def test_known_and_unknown_addresses_are_answered_alike_in_grpc(
    system: LocalSystem, addresses: Addresses
) -> None:
    answers = []
    async with client.connect(system.target) as channel:
        for email in addresses:
            request = auth_service_pb2.LoginRequest(email=email, password="a wrong password")
            with pytest.raises(aio.AioRpcError) as failed:
                await auth_service_pb2_grpc.AuthServiceStub(channel).Login(request)
            error = failed.value
            heads = [
                [(name, "" if name in OWN else value) for name, value in metadata]
                for metadata in (error.initial_metadata(), error.trailing_metadata())
            ]
            answers.append((error.code(), error.details(), heads))
    assert answers[0] == answers[1]
