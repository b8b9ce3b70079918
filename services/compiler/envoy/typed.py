"""JSON as Envoy takes it and as people read it."""

from __future__ import annotations

import json
from typing import Any

WIDTH = 120

Json = dict[str, Any]
"""A JSON object of Envoy's API: its shape is Envoy's, and Envoy itself checks it (`envoy --mode validate`)."""


def typed(message: str, /, **fields: Any) -> Json:
    """Return a message of Envoy's API as google.protobuf.Any. `message` is its full name."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def extension(name: str, message: str, /, **fields: Any) -> Json:
    """Return an extension (a filter, an access logger, ...) with its configuration."""
    return {"name": name, "typed_config": typed(message, **fields)}


def readable(value: Any, depth: int = 0) -> str:
    """Return JSON for people: indented, with whatever fits on a line on one."""
    if isinstance(value, dict):
        opening, closing = "{", "}"
        items = [f"{json.dumps(key)}: {readable(item, depth + 1)}" for key, item in value.items()]
    elif isinstance(value, list):
        opening, closing = "[", "]"
        items = [readable(item, depth + 1) for item in value]
    else:
        return json.dumps(value)
    line = f"{opening}{', '.join(items)}{closing}"
    if len(line) + 2 * depth <= WIDTH:
        return line
    margin = "  " * depth
    return f"{opening}\n" + ",\n".join(f"{margin}  {item}" for item in items) + f"\n{margin}{closing}"
