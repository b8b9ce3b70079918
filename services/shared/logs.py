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
        return b"".join(self.lines(record)).decode().rstrip("\n")

    def lines(self, record: logging.LogRecord) -> Iterator[bytes]:
        """Yield the record's lines."""
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
    """Writes each record at once. Lines of several processes on one pipe stay whole."""

    def __init__(self, service: str, stream: BinaryIO) -> None:
        super().__init__()
        self._formatter = JsonFormatter(service)
        self._stream = stream

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the record. Without filters, and without a lock: the stream has one of its own."""
        unflushed_bytes = 0
        try:
            for line in self._formatter.lines(record):
                unflushed_bytes += len(line)
                if unflushed_bytes > PIPE_BUF:
                    self._stream.flush()
                    unflushed_bytes = len(line)
                self._stream.write(line)
            self._stream.flush()
        except Exception:  # noqa: BLE001 - as every handler of logging does: a log that fails fails no call
            self.handleError(record)
        return True


def configure(service: str, level: str) -> None:
    """Send all logs of this process to standard output as JSON."""
    logging.basicConfig(level=level.upper(), handlers=[LineHandler(service, sys.stdout.buffer)], force=True)
    for noisy in ("pgqueuer", "alembic", "uvicorn.error"):
        logging.getLogger(noisy).setLevel("WARNING")
