"""Spans of SQL statements."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span, Tracer
    from sqlalchemy.ext.asyncio import AsyncEngine

MAX_SQL_CHARACTERS = 2048


def trace_statements(engine: AsyncEngine, tracer: Tracer) -> Callable[[Any], None]:
    """Make a span of every SQL statement within a recorded trace: its text with placeholders, never its parameters.

    Return what does the same for a driver's connection that is not of the engine's pool.

    The instrumentation that OpenTelemetry offers does not serve: it knows SQLAlchemy below 2.1 alone, does not see
    statements on the driver's own connection, and puts the server's messages, which quote rows, into the spans.
    """
    statements = _Statements(tracer, engine.url.database or "")
    event.listen(engine.sync_engine, "before_cursor_execute", statements.begin)
    event.listen(engine.sync_engine, "after_cursor_execute", statements.end)
    event.listen(engine.sync_engine, "handle_error", statements.fail)
    event.listen(engine.sync_engine, "connect", statements.watch)
    return statements.watch_driver


class _Statements:
    """Listeners of SQLAlchemy, for what it prepares, and of asyncpg, for what runs unprepared: COMMIT, batches."""

    def __init__(self, tracer: Tracer, database: str) -> None:
        self._tracer = tracer
        self._database = database

    def begin(
        self, _connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, executemany: bool
    ) -> None:
        """Start a statement's span."""
        if not executemany and trace.get_current_span().is_recording():  # asyncpg tells of batches.
            context.azora_span = self._start(statement)

    def end(
        self, _connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _executemany: bool
    ) -> None:
        """End a statement's span."""
        span: Span | None = getattr(context, "azora_span", None)
        if span is not None:
            span.end()

    def fail(self, failure: Any) -> None:
        """End the span of a statement that failed."""
        span: Span | None = getattr(failure.execution_context, "azora_span", None)
        if span is not None and span.is_recording():
            _describe(span, failure.original_exception.__cause__ or failure.original_exception)
            span.end()

    def watch(self, connection: Any, _record: Any) -> None:
        """Have a new connection tell of its statements."""
        self.watch_driver(connection.driver_connection)

    def watch_driver(self, driver: Any) -> None:
        """Have a driver's connection tell of its statements."""
        driver.add_query_logger(self._ran)

    def _ran(self, ran: Any) -> None:
        # The driver tells of it in the loop's next turn, when the call and its span may have ended.
        if trace.get_current_span().get_span_context().trace_flags.sampled:
            span = self._start(ran.query, time.time_ns() - int(ran.elapsed * 1e9))
            if ran.exception is not None:
                _describe(span, ran.exception)
            span.end()

    def _start(self, sql: str, start_time: int | None = None) -> Span:
        operation = sql.lstrip()[:32].partition(" ")[0].rstrip(";\n").upper()
        attributes = {
            "db.system.name": "postgresql",
            "db.namespace": self._database,
            "db.operation.name": operation,
            "db.query.text": sql[:MAX_SQL_CHARACTERS],
        }
        name = f"{operation} {self._database}"
        return self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes, start_time=start_time)


def _describe(span: Span, error: BaseException) -> None:
    """Note what kind of error it was; its message may quote a row."""
    span.set_attribute("error.type", getattr(error, "sqlstate", None) or type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))
