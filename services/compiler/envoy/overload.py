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
TRACKED_POWER_OF_TWO = 10
"""Streams are known by their size in eight classes, each of twice the size of the one before. Envoy begins one power
below this number: the last class holds streams of 64 KiB or more."""
RANGE = 2
"""Pressure is measured up to this multiple of the limit. Envoy resets streams, 50 by each thread, only when pressure
has changed; at saturation it does not change any more, and everyone else is refused."""


def overload_manager(profile: Profile) -> Json:
    """Return what is monitored, and what is given up first when memory runs short: the streams that hold most of it."""
    return {
        "refresh_interval": "0.1s",
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
                max_heap_size_bytes=RANGE * profile.max_heap_bytes,
            ),
        ],
        "actions": [
            _scaled("reduce_timeouts", 0.35, 0.5) | {"typed_config": _idle_timeouts()},
            _at("shrink_heap", 0.7),
            # A class more at each eighth of the way: from 64 KiB at 0.78, from 32 KiB at 0.93, from 16 KiB at 1.09.
            _scaled("reset_high_memory_stream", 0.78, RANGE),
            _at("disable_http_keepalive", 0.9),
            _at("stop_accepting_requests", 0.95),
        ],
    }


def _at(name: str, share: float) -> Json:
    """Return an action that begins at a share of the memory that Envoy may take."""
    return _action(name, {"threshold": {"value": share / RANGE}})


def _scaled(name: str, begins: float, saturates: float) -> Json:
    """Return an action that begins at a share of the memory that Envoy may take, and is full at another."""
    scaled = {"scaling_threshold": begins / RANGE, "saturation_threshold": saturates / RANGE}
    return _action(name, {"scaled": scaled})


def _action(name: str, trigger: Json) -> Json:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": HEAP, **trigger}]}


def _idle_timeouts() -> Json:
    return typed(
        "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
        timer_scale_factors=[{"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": MIN_IDLE}],
    )
