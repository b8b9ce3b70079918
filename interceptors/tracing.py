"""Joins every call to its trace: the edge's request id and the W3C trace context."""

from __future__ import annotations

import os
import re
import uuid
from typing import TYPE_CHECKING

from interceptors.base import Interceptor
from services.shared.principal import serve_request

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
MAX_KEY_CHARACTERS = 1024
"""Only a bound on what is kept: validation refuses keys above its own, smaller limit."""


class Tracing(Interceptor):
    """Names the call, and makes its `Request` the current one of its task. A malformed trace context is replaced."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Read the headers that name the call."""
        request_id, traceparent, served = call.value("x-request-id"), call.value("traceparent"), call.served
        served.id = request_id if REQUEST_ID.fullmatch(request_id) else str(uuid.uuid4())
        served.traceparent = (
            traceparent if TRACEPARENT.fullmatch(traceparent) else f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"
        )
        served.idempotency_key = call.value("idempotency-key")[:MAX_KEY_CHARACTERS]
        serve_request(served)
        await proceed()
