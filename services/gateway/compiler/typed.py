"""The two shapes that Envoy's configuration repeats everywhere."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""A JSON object of Envoy's API: its shape is Envoy's, and Envoy itself checks it (`envoy --mode validate`)."""


def typed(message: str, /, **fields: Any) -> Json:
    """Return a message of Envoy's API as google.protobuf.Any. `message` is its full name."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def extension(name: str, message: str, /, **fields: Any) -> Json:
    """Return an extension (a filter, an access logger, ...) with its configuration."""
    return {"name": name, "typed_config": typed(message, **fields)}
