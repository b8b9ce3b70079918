"""Traces of requests: their spans, and what is read of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.compiler.contract import ENVOY, LISTENER_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EDGE = "edge"
"""Name of the listener of the public port, in the attribute LISTENER_TAG of Envoy's spans."""
UNLISTED = re.compile(r"/(health|openapi\.json|docs|console|favicon\.ico|v1/console|azora\.gateway\.|grpc\.)")
"""Paths of requests that are not listed: pages, health checks, reflection, and the data of the console."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a trace. Times are in nanoseconds since the Unix epoch."""

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    name: str
    is_server: bool
    start_nanoseconds: int
    end_nanoseconds: int
    failed: bool
    attributes: Mapping[str, str]

    @property
    def is_request(self) -> bool:
        """Whether it is that of a request through the public port."""
        return self.service == ENVOY and self.attributes.get(LISTENER_TAG) == EDGE

    @property
    def is_listed(self) -> bool:
        """Whether a request is one that people look for."""
        return not UNLISTED.match(self.path)

    @property
    def path(self) -> str:
        """The path of a request."""
        # By no parser of URLs: it raises for authorities that Envoy lets a client send, such as "[".
        return "/" + self.attributes.get("http.url", "").partition("://")[2].partition("/")[2]

    @property
    def duration_nanoseconds(self) -> int:
        """The duration of the span."""
        return max(0, self.end_nanoseconds - self.start_nanoseconds)


@dataclass(frozen=True, slots=True)
class Trace:
    """A request through the public port, with all spans that have arrived."""

    request: Span
    """Envoy's span of it."""
    spans: Sequence[Span]
    """By start time."""

    @property
    def served(self) -> Span | None:
        """The span of the service that served the request; None if Envoy rejected it."""
        return next((span for span in self.spans if span.is_server and span.service != ENVOY), None)

    @property
    def services(self) -> list[str]:
        """The names of the processes, in the order in which the request came to them."""
        return list(dict.fromkeys((ENVOY, *(span.service for span in self.spans))))

    @property
    def failed(self) -> bool:
        """Whether one of its spans has an error of a server."""
        return any(span.failed for span in self.spans)
