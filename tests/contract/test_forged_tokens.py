"""Forged access tokens through the real Envoy, with the interceptors of a service behind it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from services.shared.errors import TokenInvalid
from services.shared.ids import new_id
from tests.support.edge import Edge, error_info, running_edge
from tests.support.forgeries import Forger
from tests.support.http import plain_http
from tests.support.serving import AUDIENCE, KEY_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROTECTED, PUBLIC = "/v1/auth/profile", "/v1/courses"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[Edge]:
    async with running_edge(guarded=True) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(guarded: Edge) -> AsyncIterator[httpx.AsyncClient]:
    async with plain_http(guarded.url, timeout=10) as opened:
        yield opened


@pytest.fixture
def forger(guarded: Edge) -> Forger:
    now = int(time.time())
    claims = {
        "iss": guarded.profile.issuer,
        "aud": AUDIENCE,
        "sub": new_id(),
        "sid": new_id(),
        "jti": new_id(),
        "iat": now,
        "exp": now + 900,
        "epoch": 0,
        "roles": ["ROLE_STUDENT"],
    }
    return Forger(guarded.signer.pem, KEY_ID, claims)


async def answered(http: httpx.AsyncClient, path: str, headers: list[str]) -> tuple[int, str, str]:
    """Return status, message and reason of an answer."""
    answer = await http.get(path, headers=[("authorization", value) for value in headers])
    if answer.is_success:
        return answer.status_code, "", ""
    body = answer.json()
    return answer.status_code, body["message"], error_info(body)["reason"]


@pytest.mark.parametrize("path", [PROTECTED, PUBLIC])
async def test_a_forged_token_gets_one_generic_answer_at_the_edge(
    client: httpx.AsyncClient, forger: Forger, path: str
) -> None:
    assert (await answered(client, path, [f"Bearer {forger.genuine()}"]))[0] == httpx.codes.OK
    expected = (401, TokenInvalid().message, "TOKEN_INVALID")
    answers = {name: await answered(client, path, headers) for name, headers in forger.headers().items()}
    assert len(answers) > 150
    assert {name: answer for name, answer in answers.items() if answer != expected} == {}


async def test_what_is_no_bearer_token_signs_nobody_in(client: httpx.AsyncClient, forger: Forger) -> None:
    for name, headers in forger.other_schemes().items():
        assert (await answered(client, PROTECTED, headers))[0::2] == (401, "TOKEN_MISSING"), name
        assert (await answered(client, PUBLIC, headers))[0::2] == (401, "TOKEN_INVALID"), name
