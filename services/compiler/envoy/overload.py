"""The limits of Envoy as a whole: sockets and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.connections import MAX_SOCKETS
from services.compiler.envoy.typed import Json, extension, typed

if TYPE_CHECKING:
    from services.compiler.envoy.profiles import Profile

HEAP = "envoy.resource_monitors.fixed_heap"
MIN_IDLE = "5s"
"""How long a connection may be idle when many are. Each takes some 30 KB, so that memory tells of their number."""
TRACKED_POWER_OF_TWO = 17
"""Streams that hold 128 KiB or more are known by their size: those of small requests never do."""


def overload_manager(profile: Profile) -> Json:
    """Return what is monitored, and what is given up first when memory runs short: the streams that hold most of it."""
    return {
        "refresh_interval": "0.25s",
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": TRACKED_POWER_OF_TWO},
        "resource_monitors": [
            extension(
                "envoy.resource_monitors.global_downstream_max_connections",
                "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=MAX_SOCKETS,
            ),
            extension(
                HEAP,
                "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                max_heap_size_bytes=profile.max_heap_bytes,
            ),
        ],
        "actions": [
            _action("reduce_timeouts", {"scaled": {"scaling_threshold": 0.35, "saturation_threshold": 0.5}})
            | {"typed_config": _idle_timeouts()},
            _action("shrink_heap", {"threshold": {"value": 0.7}}),
            _action("reset_high_memory_stream", {"scaled": {"scaling_threshold": 0.8, "saturation_threshold": 0.95}}),
            _action("disable_http_keepalive", {"threshold": {"value": 0.9}}),
            _action("stop_accepting_requests", {"threshold": {"value": 0.95}}),
        ],
    }


def _action(name: str, trigger: Json) -> Json:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": HEAP, **trigger}]}


def _idle_timeouts() -> Json:
    return typed(
        "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
        timer_scale_factors=[{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": MIN_IDLE}],
    )
