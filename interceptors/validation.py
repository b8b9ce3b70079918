"""Parses the request and holds it against the rules of its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptors.base import Interceptor
from services.shared.validation import validate

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed


class Validation(Interceptor):
    """Turns the request's bytes into its message and refuses what breaks the rules declared in the .proto."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Set the call's request, its ids in lower case. Raises MalformedRequest, ValidationFailed."""
        if call.raw is not None:
            call.request = call.parse(call.raw)
            validate(call.request)
        await proceed()
