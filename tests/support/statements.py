"""The SQL statements of each call of a service that runs in this process."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from services.shared import assembly
from services.shared.connections import ReadConnection
from tests.support.spans import Recording
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


class Statements:
    """Statements by call: their texts, and whether modules had built all of them before."""

    def __init__(self) -> None:
        self.recording = Recording()
        self.built_for_calls: set[int] = set()
        """Traces with a statement that SQLAlchemy had to compile or look up."""

    async def prebuilt(self, method: str) -> list[str]:
        """Return the statements of the latest call of a method; none was built for the call."""

        async def told() -> list[str]:  # The driver tells of a statement a moment after its answer.
            (*_, call) = (
                span.context.trace_id
                for span in self.recording.spans
                if span.context and span.kind is SpanKind.SERVER and span.name.endswith(f"/{method}")
            )
            assert call not in self.built_for_calls
            spans = (span for span in self.recording.spans if span.context and span.context.trace_id == call)
            return [str(text) for span in spans if (text := (span.attributes or {}).get("db.query.text"))]

        return await eventually(told)


@contextmanager
def recorded_statements() -> Iterator[Statements]:
    """Record the statements of the services that are put together within the block."""
    statements = Statements()
    execute = ReadConnection._sqlalchemy

    async def noted(connection: ReadConnection) -> Any:
        statements.built_for_calls.add(trace.get_current_span().get_span_context().trace_id)
        return await execute(connection)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(assembly, "tracer", lambda: statements.recording.tracer)
        patched.setattr(ReadConnection, "_sqlalchemy", noted)
        yield statements
