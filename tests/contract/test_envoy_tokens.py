"""Access tokens through the real edge where none is needed: expired ones count as none, forged ones are refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.edge import Edge, error_info
from tests.support.http import plain_http
from tests.support.serving import Signer

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = [
    ("GET", "/v1/courses"),
    ("POST", "/v1/auth/login"),
    ("POST", "/v1/auth/refresh"),
    ("POST", "/v1/auth/logout"),
]


async def outcome(edge: Edge, method: str, url: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Return the status of a call with an empty message, and the reason of its refusal."""
    async with plain_http(edge.url) as http:
        answer = await http.request(method, url, headers=headers, json={} if method == "POST" else None)
    return answer.status_code, "" if answer.status_code == 200 else error_info(answer.json())["reason"]


@pytest.mark.parametrize(("method", "url"), PUBLIC)
async def test_an_expired_token_counts_as_none(two_payments: Edge, method: str, url: str) -> None:
    expired = two_payments.bearer(exp=int(time.time()) - 60)
    without = await outcome(two_payments, method, url, {})
    assert without[1] in ("", "VALIDATION_FAILED")
    assert await outcome(two_payments, method, url, expired) == without
    assert await outcome(two_payments, "GET", "/v1/auth/profile", expired) == (401, "TOKEN_EXPIRED")


@pytest.mark.parametrize(("method", "url"), PUBLIC)
async def test_a_forged_token_is_refused(two_payments: Edge, method: str, url: str) -> None:
    forged = [Signer().token(), Signer().token(exp=int(time.time()) - 60), "garbage"]
    for token in [*forged, two_payments.signer.token(aud="another"), two_payments.signer.token(iss="https://another")]:
        headers = {"authorization": f"Bearer {token}"}
        assert await outcome(two_payments, method, url, headers) == (401, "TOKEN_INVALID"), token
