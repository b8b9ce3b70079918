"""What an access token that was seen before costs an RPC: the CPU time that it adds to the call's authentication."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from bench.client import FROM_ENVOY
from interceptors.auth import Authentication
from interceptors.base import Call
from services.compiler.contract import load_contract
from tests.support.serving import Signer

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLS, ROUNDS = 20_000, 7
GET_WALLET = "/azora.payment.v1.WalletService/GetWallet"


async def repeated_token_microseconds() -> float:
    """Return the median over rounds of the CPU time that a repeated token adds to a call's authentication."""
    signer = Signer()
    authentication = Authentication(signer.verifier())
    with_token, without = _call([("authorization", f"Bearer {signer.token()}")]), _call([])
    added = []
    for _ in range(ROUNDS):
        plain = await _seconds(authentication, without)
        added.append(await _seconds(authentication, with_token) - plain)
    return statistics.median(added) / CALLS * 1e6


class _Context:
    """What authentication asks of a call from Envoy over a unix socket."""

    def peer_identities(self) -> None:
        """Return no identity."""


def _call(headers: Sequence[tuple[str, str]]) -> Call:
    context: Any = _Context()
    return Call(load_contract().policies[GET_WALLET], context, (*FROM_ENVOY.items(), *headers), b"", bytes, iter(()))


async def _proceed() -> None:
    """Do nothing."""


async def _seconds(authentication: Authentication, call: Call) -> float:
    begun = time.process_time()
    for _ in range(CALLS):
        await authentication.around(call, _proceed)
    return time.process_time() - begun
