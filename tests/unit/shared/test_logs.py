"""Logs: one JSON object a line, whatever the input held."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from interceptors.logging import AccessRecord
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


def test_an_access_record_is_its_fields(logger: logging.Logger, written: io.BytesIO) -> None:
    logger.handle(AccessRecord(logging.INFO, {"message": "rpc", "method": "/a/B"}))
    (line,) = lines(written)
    assert line.pop("time")
    assert line == {"level": "INFO", "service": "auth", "message": "rpc", "method": "/a/B"}


def test_what_cannot_be_written_fails_nothing(
    logger: logging.Logger, written: io.BytesIO, capsys: pytest.CaptureFixture[str]
) -> None:
    written.close()
    logger.warning("nobody reads this")
    assert "nobody reads this" in capsys.readouterr().err
