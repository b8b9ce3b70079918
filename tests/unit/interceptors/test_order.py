"""The order of the interceptors, with the reason for every neighbour: reordering them changes who learns what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import interceptors
from interceptors.rate_limit import Limiter
from services.gateway import app
from services.gateway.settings import GatewaySettings
from services.shared.metrics import ProcessMetrics
from tests.support.serving import Signer

CHAIN = interceptors.chain({}, verifier=Signer().verifier(), limiter=Limiter())
NAMES = [type(interceptor).__name__ for interceptor in CHAIN.interceptors]
REASONS = [
    ("Tracing", "AccessLog", "the line carries the call's ids"),
    ("Metrics", "AccessLog", "a cancelled call is counted under the status that the log found for it"),
    ("AccessLog", "Errors", "refusals are logged with their status and reason"),
    ("Errors", "Admission", "a refusal has its rich status, and is logged"),
    ("Admission", "Deadline", "no timer is set for a call that is refused"),
    ("Errors", "Deadline", "a passed deadline is answered with its rich status"),
    ("Deadline", "Authentication", "fetching keys ends in time"),
    ("Authentication", "RateLimit", "calls are counted per user"),
    ("RateLimit", "Authorization", "guessing what one may do is limited, too"),
    ("Authorization", "Validation", "who may not call learns nothing of the message's rules (AIP-211)"),
    ("Validation", "ActingUser", "the user is named by a field of the parsed message"),
    ("Validation", "ItemRateLimit", "the items of a batch are in a field of the parsed message"),
]


@pytest.mark.parametrize(("outer", "inner", "reason"), REASONS)
def test_an_interceptor_stands_outside_of_those_that_rely_on_it(outer: str, inner: str, reason: str) -> None:
    assert NAMES.index(outer) < NAMES.index(inner), reason


def test_the_gateway_without_a_console_has_those_that_ask_nobody_who_they_are_in_the_same_order() -> None:
    """Anyone may call it: nobody is authenticated, limited by name or authorized."""
    settings = GatewaySettings(listen="unix:/g", http_listen="unix:/h", services="auth=unix:/a")  # type: ignore[arg-type] # As the environment has it.
    chain = app._open_chain(settings, ProcessMetrics())({})
    without = {"Authentication", "RateLimit", "Authorization", "ActingUser", "ItemRateLimit"}
    names = [type(interceptor).__name__ for interceptor in chain.interceptors]
    assert names == [name for name in NAMES if name not in without]


def test_every_interceptor_of_the_chain_has_a_reason_and_a_row_in_the_table() -> None:
    assert set(NAMES) == {name for outer, inner, _ in REASONS for name in (outer, inner)}
    table = [line.split("|")[2].strip() for line in str(interceptors.__doc__).splitlines() if line.startswith("|")]
    assert table[2:] == NAMES


def test_the_page_on_architecture_has_the_same_order() -> None:
    page = (Path(__file__).parents[3] / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| \d+ \| ([a-z ]+) \|", page, re.MULTILINE)
    assert [name.title().replace(" ", "") for name in rows] == NAMES
