"""Parses the request and holds it against the rules of its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptors.base import Interceptor
from services.shared.validation import lower_ids, validate

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

MAX_REMEMBERED_BYTES = 44
"""Length of the requests that are remembered: an id and a few numbers, and no token, of which the shortest takes 45."""
MAX_REMEMBERED = 4096
"""Maximum number of remembered requests; at this number all are forgotten."""


class Validation(Interceptor):
    """Turns the request's bytes into its message and refuses what breaks the rules declared in the .proto.

    Rules depend on nothing but the message, so short requests that only read are remembered once they were found valid:
    they come again and again, and to check one costs more than to parse it.
    """

    def __init__(self) -> None:
        self._valid: dict[tuple[str, bytes], bool] = {}
        """Requests found valid, by path and bytes, and whether ids of theirs have upper-case letters."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Set the call's request, its ids in lower case. Raises MalformedRequest, ValidationFailed."""
        if call.raw is not None:
            call.request = call.parse(call.raw)
            # Its size first: to look a long request up is to hash it.
            brief = call.policy.no_side_effects and len(call.raw) <= MAX_REMEMBERED_BYTES
            key = (call.policy.path, call.raw)
            upper_case = self._valid.get(key) if brief else None
            if upper_case is None:
                validate(call.request)
                if brief:
                    self._remember(key, upper_case=call.request != call.parse(call.raw))
            elif upper_case:
                lower_ids(call.request)
        await proceed()

    def _remember(self, valid: tuple[str, bytes], *, upper_case: bool) -> None:
        if len(self._valid) >= MAX_REMEMBERED:
            self._valid.clear()
        self._valid[valid] = upper_case
