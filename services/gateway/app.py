"""The gateway's composition root: reflection over the whole contract, the health of all services, pages over HTTP."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from interceptors.admission import Admission
from interceptors.base import Chain
from interceptors.deadline import Deadline
from interceptors.errors import Errors
from interceptors.logging import AccessLog
from interceptors.metrics import Metrics
from interceptors.tracing import Tracing
from interceptors.validation import Validation
from services.compiler.contract import load_contract
from services.gateway.health import MeshHealth
from services.gateway.metrics import MetricsPage
from services.gateway.pages import serve, serve_pages
from services.shared.metrics import ProcessMetrics
from services.shared.server import Health, Server
from services.shared.telemetry import tracer

if TYPE_CHECKING:
    from services.gateway.settings import GatewaySettings


def build(settings: GatewaySettings) -> Server:
    """Return the gateway's server. It holds no data and decides nothing, so it asks nobody who they are."""
    contract = load_contract()
    servicer = Health()
    health, metrics = MeshHealth(settings, contract, servicer), ProcessMetrics()
    background = [partial(serve_pages, settings, health)]
    if settings.metrics_listen:
        page = MetricsPage(health.channels, metrics).app()
        background += [partial(serve, page, address) for address in settings.metrics_listen.split(",")]
    interceptors = (
        Tracing(tracer()),
        Metrics(metrics.registry),
        AccessLog(),
        Errors(),
        Admission(settings.max_concurrent_rpcs),
        Deadline(),
        Validation(),
    )
    return Server(
        settings,
        partial(Chain, interceptors),
        services=(),
        ready=health.ready,
        background=background,
        close=(health.close,),
        pool=contract.pool,
        reflected=contract.names,
        health=servicer,
        max_misses=1,  # The services were patient already.
    )
