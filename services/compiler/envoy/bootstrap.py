"""The whole of what Envoy runs, from the contract and a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.contract import Contract, load_contract
from services.compiler.envoy.authentication import jwks_listener
from services.compiler.envoy.clusters import clusters, listening
from services.compiler.envoy.edge import edge_listener
from services.compiler.envoy.mesh import mesh_listener
from services.compiler.envoy.overload import overload_manager
from services.compiler.envoy.typed import Json, readable

if TYPE_CHECKING:
    from pathlib import Path

    from services.compiler.envoy.profiles import Profile

ADMIN_PATHS = ("/ready", "/server_info", "/clusters", "/listeners", "/stats", "/drain_listeners")
"""What of Envoy's admin interface is reachable, on its own socket: nothing that shows a key or changes a route."""

EXPORT_MILLISECONDS = 1000


def compile_bootstrap(profile: Profile, contract: Contract | None = None) -> Json:
    """Return Envoy's bootstrap, ready for json.dump. Raises PolicyError and ProfileError."""
    contract = contract or load_contract()
    if not profile.reflection:
        contract = contract.deployed
    return {
        "node": {"id": "azora-gateway", "cluster": "azora"},
        "admin": {
            "address": listening(profile.admin_address),
            "allow_paths": [{"prefix": path} for path in ADMIN_PATHS],
        },
        **_runtime(profile),
        "overload_manager": overload_manager(profile),
        "static_resources": {
            "listeners": [
                edge_listener(profile, contract),
                mesh_listener(profile, contract),
                jwks_listener(profile, contract),
            ],
            "clusters": clusters(profile, contract),
        },
    }


def _runtime(profile: Profile) -> Json:
    """Return how soon spans are exported: by default after five seconds, which people who look at a trace wait for."""
    if profile.otlp is None:
        return {}
    layer = {"tracing.opentelemetry.flush_interval_ms": EXPORT_MILLISECONDS}
    return {"layered_runtime": {"layers": [{"name": "static", "static_layer": layer}]}}


def write_bootstrap(profile: Profile, path: Path) -> None:
    """Write Envoy's bootstrap to a file, for `envoy --config-path`. Raises PolicyError and ProfileError."""
    path.write_text(f"{readable(compile_bootstrap(profile))}\n")
