"""Logs: one JSON object a line on standard output, whatever the input held."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from select import PIPE_BUF
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from services.shared.principal import current_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LINE = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object; unset fields are left out. `extra` becomes fields of its own.

    A record with an attribute `lines` is that many lines of the access log: their fields are all there is to write.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        return b"".join(self.encoded(record)).decode().rstrip("\n")

    def encoded(self, record: logging.LogRecord) -> Iterator[bytes]:
        """Yield the record's lines, encoded."""
        lines: Iterable[dict[str, Any]] | None = getattr(record, "lines", None)
        first = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "service": self._service,
        }
        for fields in (self._gathered(record),) if lines is None else lines:
            yield orjson.dumps(first | fields, default=str, option=LINE)

    def _gathered(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {"message": record.getMessage()}
        request = current_request()
        if request is not None:
            fields |= {"request_id": request.id, "trace_id": request.trace_id}
        fields |= {
            name: value for name, value in vars(record).items() if name not in STANDARD and value not in (None, "")
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return fields


class LineHandler(logging.Handler):
    """Writes each record at once. Lines of several processes on one pipe stay whole, where they have up to 4 KB."""

    def __init__(self, service: str, stream: BinaryIO) -> None:
        super().__init__()
        self._formatter = JsonFormatter(service)
        self._stream = stream

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the record. Without filters, and without a lock: the stream has one of its own."""
        text = b""
        try:
            for line in self._formatter.encoded(record):
                if text and len(text) + len(line) > PIPE_BUF:
                    self._write(text)
                    text = b""
                text += line
            self._write(text)
        except Exception:  # noqa: BLE001 - as every handler of logging does: a log that fails fails no call
            self.handleError(record)
        return True

    def _write(self, text: bytes) -> None:
        self._stream.write(text)
        self._stream.flush()


def configure(service: str, level: str) -> None:
    """Send all logs of this process to standard output as JSON."""
    logging.basicConfig(level=level.upper(), handlers=[LineHandler(service, sys.stdout.buffer)], force=True)
    for noisy in ("pgqueuer", "alembic", "uvicorn.error"):
        logging.getLogger(noisy).setLevel("WARNING")
