"""Logs: one JSON object a line, whatever the input held."""

from __future__ import annotations

import io
import json
import logging
import select
from typing import TYPE_CHECKING, Any

import pytest

from services.shared.logs import LineHandler
from services.shared.principal import Request, serve_request

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def written() -> io.BytesIO:
    return io.BytesIO()


@pytest.fixture
def logger(written: io.BytesIO) -> Iterator[logging.Logger]:
    logger, handler = logging.getLogger("azora.test.lines"), LineHandler("auth", written)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def lines(written: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().decode().splitlines()]


async def test_a_record_carries_the_ids_of_its_call_and_unset_fields_are_left_out(
    logger: logging.Logger, written: io.BytesIO
) -> None:
    serve_request(Request(id="edge-1", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"))
    logger.warning("two\nlines %s", "of\ntext", extra={"path": "/x\n", "empty": "", "nothing": None})
    (line,) = lines(written)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "service": "auth",
        "message": "two\nlines of\ntext",
        "request_id": "edge-1",
        "trace_id": "a" * 32,
        "path": "/x\n",
    }


def test_an_exception_stays_on_its_line(logger: logging.Logger, written: io.BytesIO) -> None:
    logger.error("it failed", exc_info=ValueError("a\nb"))
    (line,) = lines(written)
    assert "ValueError: a\nb" in line["exception"]


def test_lines_of_the_access_log_are_their_fields(logger: logging.Logger, written: io.BytesIO) -> None:
    calls = [{"level": "INFO", "message": "rpc", "method": "/a/B"}, {"level": "ERROR", "message": "rpc"}]
    logger.error("rpc", extra={"lines": calls})
    found = lines(written)
    assert all(line.pop("time") for line in found)
    assert found == [{"service": "auth"} | call for call in calls]


def test_lines_that_are_written_together_stay_whole_on_a_pipe_of_several_processes(
    logger: logging.Logger, written: io.BytesIO
) -> None:
    class Pipe(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            writes.append(bytes(data))
            return len(data)

    writes: list[bytes] = []
    handler = LineHandler("auth", io.BufferedWriter(Pipe()))
    logger.addHandler(handler)
    logger.warning("rpc", extra={"lines": [{"message": "x" * size} for size in (1500, 1500, 1500, 9000, 10)]})
    logger.removeHandler(handler)
    assert b"".join(writes) == written.getvalue()
    assert [data.count(b"\n") for data in writes] == [2, 1, 1, 1]
    assert all(len(data) <= select.PIPE_BUF for data in writes if data.count(b"\n") > 1)


def test_what_cannot_be_written_fails_nothing(
    logger: logging.Logger, written: io.BytesIO, capsys: pytest.CaptureFixture[str]
) -> None:
    written.close()
    logger.warning("nobody reads this")
    assert "nobody reads this" in capsys.readouterr().err
