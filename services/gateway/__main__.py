"""Runs the gateway's own process: reflection over the whole contract, the health of all parts, and pages over HTTP."""

from __future__ import annotations

from functools import partial

from interceptors.base import Chain
from interceptors.concurrency import ConcurrencyLimit
from interceptors.deadline import Deadline
from interceptors.errors import Errors
from interceptors.logging import AccessLog
from interceptors.metrics import Metrics
from interceptors.tracing import Tracing
from interceptors.validation import Validation
from services.compiler.contract import load_contract
from services.gateway.metrics import MetricsPage
from services.gateway.pages import serve, serve_pages
from services.gateway.parts import Parts
from services.gateway.settings import GatewaySettings
from services.shared.metrics import ProcessMetrics
from services.shared.server import Health, Server, main
from services.shared.telemetry import tracer


def build(settings: GatewaySettings) -> Server:
    """Put the process together. It holds no data and decides nothing, so it asks nobody who they are."""
    contract = load_contract()
    health = Health()
    parts, metrics = Parts(settings, contract, health), ProcessMetrics()
    background = [partial(serve_pages, settings, parts)]
    if settings.metrics_listen:
        page = MetricsPage(parts.channels, metrics)
        background.append(partial(serve, page.app(), settings.metrics_listen))
    interceptors = (
        Tracing(tracer()),
        Metrics(metrics.registry),
        AccessLog(),
        Errors(),
        ConcurrencyLimit(settings.max_concurrent_rpcs),
        Deadline(),
        Validation(),
    )
    return Server(
        settings,
        partial(Chain, interceptors),
        services=(),
        ready=parts.ready,
        background=background,
        close=(parts.close,),
        pool=contract.pool,
        reflected=contract.names,
        health=health,
    )


if __name__ == "__main__":
    main("gateway", GatewaySettings, build)
