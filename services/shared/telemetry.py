"""OpenTelemetry's SDK, which is imported where an OTLP endpoint is set and nowhere else."""

from __future__ import annotations

import logging
import threading
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from opentelemetry import trace

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

    from services.shared.settings import ServerSettings

INSTRUMENTATION = "azora"
EXPORT_TIMEOUT_SECONDS = 2.0
FLUSH_SECONDS = 1.0
"""Maximum time of the last export."""


def configure(service: str, settings: ServerSettings) -> Callable[[], None]:
    """Export this process's spans to the OTLP endpoint of the settings, if there is one.

    Return what exports the last spans before the process ends, or gives them up.
    """
    if not settings.otlp_endpoint:
        return lambda: None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415

    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(settings.trace_sample_ratio),
        resource=Resource.create({"service.name": service, "service.namespace": INSTRUMENTATION}),
        shutdown_on_exit=False,  # It waits for twice the timeout, where the endpoint does not answer.
    )
    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=True, timeout=EXPORT_TIMEOUT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)  # It warns of every attempt.
    return partial(flush, provider, exporter)


def flush(provider: TracerProvider, exporter: SpanExporter) -> None:
    """Export what is left, in bounded time: an exporter that is shut down gives up."""
    limit = threading.Timer(FLUSH_SECONDS, exporter.shutdown)
    limit.start()
    provider.shutdown()
    limit.cancel()


def tracer() -> Tracer | None:
    """Return the tracer of this process; None if it exports no spans, so that nothing is done for them."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider.get_tracer(INSTRUMENTATION)


def recorded_span() -> Span | None:
    """Return the current span if it is recorded."""
    span = trace.get_current_span()
    return span if span.is_recording() else None


def within(span: Span | None) -> AbstractContextManager[object]:
    """Make what follows part of a span that another task began."""
    return trace.use_span(span, record_exception=False, set_status_on_exception=False) if span else nullcontext()
