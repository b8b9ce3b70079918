"""Reading a compiled bootstrap of Envoy."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def routes_of(listener: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all routes of a listener, each once."""
    routes: list[dict[str, Any]] = []
    for route in chain.from_iterable(values_of(listener, "routes")):
        if route not in routes:
            routes.append(route)
    return routes


def values_of(tree: Any, key: str) -> Iterator[Any]:
    """Yield every value of `key`, however deep."""
    if isinstance(tree, dict):
        yield from ([tree[key]] if key in tree else [])
        for value in tree.values():
            yield from values_of(value, key)
    elif isinstance(tree, list):
        for item in tree:
            yield from values_of(item, key)
