"""How servicers are added to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class GenericHandlers:
    """Where generated functions add their servicers to a server: as generic handlers alone.

    They register each method by name, too. For each of those grpc.aio has a task that waits for calls, and every call
    looks at all of them: with fifty methods that takes longer than the rest of a call.
    """

    def __init__(self, add: Callable[..., None]) -> None:
        self.add_generic_rpc_handlers = add

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, object]) -> None:
        """Do nothing: the generic handlers have the same methods."""
