"""Only successes count: h2load takes every gRPC answer for one."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc import aio

from bench import client
from bench.client import Request
from bench.errors import WrongAnswer
from bench.load import load, read_report
from tests.support.serving import short_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPORT = """
finished in 501.20ms, 196.00 req/s, 310.84KB/s
requests: 98 total, 100 started, {done} done, 98 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, {bad} 4xx, 0 5xx
traffic: 621.69KB (636608) total, 148.91KB (152488) headers (space savings 0.00%), 442.53KB (453152) data
"""


@asynccontextmanager
async def answering(*, successes: int) -> AsyncIterator[Request]:
    """Serve an RPC that succeeds so often, and then fails."""
    answered = 0

    async def answer(request: bytes, context: Any) -> bytes:
        nonlocal answered
        answered += 1
        if answered > successes:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "enough")
        return request

    server = aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", {"Echo": handler}),))
    async with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        try:
            yield Request(f"unix:{folder}/s", "/a.Service/Echo", body=b"x" * 100, grpc=True)
        finally:
            await server.stop(None)


async def test_calls_and_their_latencies_are_counted() -> None:
    async with answering(successes=1_000_000) as request:
        seen = await load(request, callers=4, seconds=0.3)
    assert seen.calls > 0
    assert len(seen.latencies_seconds) == seen.calls
    assert all(0 < latency < seen.elapsed_seconds for latency in seen.latencies_seconds)


async def test_a_load_of_refusals_is_no_measurement() -> None:
    async with answering(successes=1) as request:
        with pytest.raises(WrongAnswer):
            await load(request, callers=4, seconds=0.3)


async def test_our_own_client_refuses_what_is_no_success() -> None:
    async with answering(successes=0) as request:
        with pytest.raises(WrongAnswer, match="RESOURCE_EXHAUSTED: enough"):
            await client.call(request)
    async with answering(successes=5) as request:
        with pytest.raises(WrongAnswer, match="RESOURCE_EXHAUSTED: enough"):
            await client.load(request, callers=2, seconds=10)


def test_a_report_is_read() -> None:
    seen = read_report(REPORT.format(done=98, failed=0, good=98, bad=0), ["1795647491186556\t200\t78434"])
    assert (seen.calls, seen.body_bytes) == (98, 453152)
    assert seen.elapsed_seconds == pytest.approx(0.5012)
    assert seen.latencies_seconds == [pytest.approx(0.078434)]


@pytest.mark.parametrize("report", [REPORT.format(done=99, failed=1, good=98, bad=1), "h2load: no such host"])
def test_a_report_of_failures_is_no_measurement(report: str) -> None:
    with pytest.raises(WrongAnswer):
        read_report(report, [])
