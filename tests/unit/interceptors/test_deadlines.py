"""Deadlines that pass before a call begins, or while nobody here watches them: what is answered, and what is logged."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from grpc import aio

from interceptors.base import Call, Chain
from interceptors.deadline import Deadline
from interceptors.logging import AccessLog
from interceptors.tracing import Tracing
from services.shared.errors import DeadlinePassed
from services.shared.policy import infrastructure_policies
from tests.support.serving import short_folder
from tests.support.waiting import eventually

PATH = "/azora.test.v1.Test/Call"
POLICY = replace(infrastructure_policies()["/grpc.health.v1.Health/Check"], path=PATH, timeout_seconds=60)


@dataclass
class Waiting:
    """The context of a call whose client waits for so long."""

    seconds: float

    def time_remaining(self) -> float:
        return self.seconds


def call_of(seconds: float) -> Call:
    context: Any = Waiting(seconds)
    return Call(replace(POLICY, timeout_seconds=7200), context, (), b"", bytes, iter(()))


async def test_a_call_whose_deadline_passed_before_it_began_is_not_begun() -> None:
    async def proceed() -> None:
        raise AssertionError("too late")

    with pytest.raises(DeadlinePassed):
        await Deadline().around(call_of(0), proceed)


@pytest.mark.parametrize("seconds", [0.1, 5.0, 59.9, 60.2, 3600.0])
async def test_a_deadline_passes_before_the_client_stops_listening(seconds: float) -> None:
    call, now = call_of(seconds), asyncio.get_running_loop().time
    begun = now()

    async def proceed() -> None:
        assert call.served.deadline is not None
        assert begun + seconds - 1.2 < call.served.deadline < now() + seconds

    await Deadline().around(call, proceed)


async def test_deadlines_that_pass_together_end_the_calls_that_are_served_and_nothing_else() -> None:
    deadline = Deadline()

    async def forever() -> None:
        await asyncio.Event().wait()

    async def at_once() -> None:
        pass

    served = [asyncio.create_task(deadline.around(call_of(0.2), forever)) for _ in range(3)]
    await deadline.around(call_of(0.2), at_once)  # In this task, which goes on.
    ended = await asyncio.gather(*served, return_exceptions=True)
    assert [type(error) for error in ended] == [DeadlinePassed] * 3


@pytest.mark.parametrize("goes_away", [True, False])
async def test_the_log_tells_a_passed_deadline_from_a_client_that_went_away(
    goes_away: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "azora.access")
    begun = asyncio.Event()

    async def waiting(_request: bytes, _context: Any) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    async def logged() -> bool:
        return bool(_lines(caplog))

    handler: Any = grpc.unary_unary_rpc_method_handler(waiting)
    server = aio.server(interceptors=[Chain((Tracing(), AccessLog()), {PATH: POLICY})])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("azora.test.v1.Test", {"Call": handler}),))
    async with short_folder() as folder:
        server.add_insecure_port(f"unix:{folder}/s")
        await server.start()
        async with aio.insecure_channel(f"unix:{folder}/s") as channel:
            # The header alone: the client has no timer of its own, so that the server's is the one that ends the call.
            metadata = () if goes_away else (("grpc-timeout", "200m"),)
            method: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(PATH)
            call = method(b"", metadata=metadata)
            await begun.wait()
            if goes_away:
                call.cancel()
            else:
                assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await eventually(logged)
        await server.stop(None)
    assert _lines(caplog) == [("CANCELLED", None) if goes_away else ("DEADLINE_EXCEEDED", "DEADLINE_PASSED")]


async def test_calls_that_end_together_are_one_record_with_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "azora.access")
    access_log = AccessLog()

    async def proceed() -> None:
        """Answer at once."""

    for _ in range(3):
        await access_log.around(call_of(1), proceed)
    assert not _lines(caplog)

    async def logged() -> list[logging.LogRecord]:
        return [record for record in caplog.records if PATH in str(getattr(record, "lines", ""))]

    (record,) = await eventually(logged, within_seconds=2)
    assert _lines(caplog) == [("OK", None)] * 3
    assert record.levelno == logging.DEBUG


async def test_a_log_that_fails_does_not_end_the_access_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "azora.access")
    access_log, failed = AccessLog(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: failed.set())

    async def proceed() -> None:
        """Answer at once."""

    with monkeypatch.context() as broken:
        broken.setattr(logging.getLogger("azora.access"), "log", None)
        await access_log.around(call_of(1), proceed)
        await asyncio.wait_for(failed.wait(), 2)
    await access_log.around(call_of(1), proceed)

    async def logged() -> bool:
        return bool(_lines(caplog))

    await eventually(logged, within_seconds=2)
    assert _lines(caplog) == [("OK", None)]


async def test_what_the_access_log_has_gathered_is_written_when_its_server_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "azora.access")

    async def proceed() -> None:
        """Answer at once."""

    await AccessLog().around(call_of(1), proceed)
    assert _lines(caplog) == [("OK", None)]


def _lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str | None]]:
    lines = [line for record in caplog.records for line in getattr(record, "lines", ())]
    return [(line["status"], line.get("reason")) for line in lines if line["method"] == PATH]
