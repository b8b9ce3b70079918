"""The way out: what every call of a service to another one carries, and what its failures become."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import grpc
from azora import client
from grpc import aio

from services.shared.errors import DeadlinePassed, DependencyUnavailable, Refused
from services.shared.principal import current_request

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

MAX_CALL_SECONDS = 4.0
"""Two calls, one after the other, fit into the longest timeout of a method that makes any."""
RETRY_AFTER_SECONDS = 1.0
VERDICTS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
}
"""What a service answers that looked at the request; any other code leaves open what happened."""


class OutgoingCalls(aio.UnaryUnaryClientInterceptor):
    """Makes a call part of the one being served: its trace, its request id, and what is left of its time.

    A call may ask for less time than `max_seconds`, never for more. Outside of a call (in a job) only that bound holds.
    Raises Refused for a verdict of the other service, DependencyUnavailable for anything else that fails,
    DeadlinePassed if no time is left to call at all.
    """

    def __init__(self, max_seconds: float = MAX_CALL_SECONDS) -> None:
        self._max_seconds = max_seconds

    async def intercept_unary_unary(
        self,
        continuation: Callable[[aio.ClientCallDetails, Any], Any],
        client_call_details: aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Make the call and await its response."""
        call = await continuation(self._joined(client_call_details), request)
        try:
            await call
        except aio.AioRpcError as error:
            raise _failure(client_call_details.method, error) from error
        return call

    def _joined(self, details: aio.ClientCallDetails) -> aio.ClientCallDetails:
        served = current_request()
        timeout = self._max_seconds if details.timeout is None else min(details.timeout, self._max_seconds)
        metadata = aio.Metadata(*(details.metadata or ()))
        if served is not None:
            timeout = served.remaining_seconds(timeout)
            if timeout <= 0:
                raise DeadlinePassed
            metadata["traceparent"] = served.traceparent
            metadata["x-request-id"] = served.id
        return aio.ClientCallDetails(details.method, timeout, metadata, details.credentials, details.wait_for_ready)


def _failure(method: str | bytes, error: aio.AioRpcError) -> Refused | DependencyUnavailable:
    if error.code() in VERDICTS:
        info = client.error_info(error)
        return Refused(info.reason, error.code().name, info.metadata)
    path = method.decode() if isinstance(method, bytes) else method
    logger.warning("call to another service failed", extra={"called": path, "status": error.code().name})
    return DependencyUnavailable(retry_after_seconds=RETRY_AFTER_SECONDS)
