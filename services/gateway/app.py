"""The gateway's composition root: reflection over the whole contract, the health of all services, pages over HTTP."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from interceptors.admission import Admission
from interceptors.base import Chain
from interceptors.deadline import Deadline
from interceptors.errors import Errors
from interceptors.logging import AccessLog
from interceptors.metrics import Metrics
from interceptors.tracing import Tracing
from interceptors.validation import Validation
from services.compiler.contract import load_contract
from services.gateway.console.assembly import assemble
from services.gateway.health import MeshHealth
from services.gateway.metrics import MetricsPage
from services.gateway.pages import serve, serve_pages
from services.gateway.replicas import Replicas
from services.shared.metrics import ProcessMetrics
from services.shared.server import Health, Server
from services.shared.telemetry import tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from services.gateway.settings import GatewaySettings
    from services.shared.policy import MethodPolicy


def build(settings: GatewaySettings) -> Server:
    """Return the gateway's server. Without a console it holds no data, so it asks nobody who they are."""
    contract = load_contract()
    servicer = Health()
    replicas, metrics = Replicas(settings, contract.owners), ProcessMetrics()
    health, page = MeshHealth(settings, contract, servicer, replicas), MetricsPage(replicas, metrics)
    background: list[Callable[[], Coroutine[Any, Any, None]]] = [partial(serve_pages, settings, health)]
    if settings.metrics_listen:
        background += [partial(serve, page.app(), address) for address in settings.metrics_listen.split(",")]
    console = assemble(settings, contract, health, page, metrics) if settings.has_console else None
    return Server(
        settings,
        console.interceptor if console else _open_chain(settings, metrics),
        services=[console.registration] if console else [],
        ready=health.ready,
        background=[*background, *(console.background if console else ())],
        close=[*(console.close if console else ()), health.close, replicas.close],
        pool=contract.pool,
        reflected=contract.names,
        health=servicer,
        max_misses=1,  # The services were patient already.
    )


def _open_chain(settings: GatewaySettings, metrics: ProcessMetrics) -> Callable[[Mapping[str, MethodPolicy]], Chain]:
    """Return the interceptors of what anyone may call: health and reflection."""
    interceptors = (
        Tracing(tracer()),
        Metrics(metrics.registry),
        AccessLog(),
        Errors(),
        Admission(settings.max_concurrent_rpcs),
        Deadline(),
        Validation(),
    )
    return partial(Chain, interceptors)
