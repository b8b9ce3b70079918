"""Background work of webhooks: taking events from the outbox, sending them, and deleting what is no longer needed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from azora.event.v1 import event_pb2

from services.payment.webhooks import convert
from services.shared.errors import DomainError
from services.shared.jobs import Periodic
from services.shared.retention import Retention

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from services.payment.webhooks.model import Lease
    from services.payment.webhooks.operations import DeliveryOperations
    from services.shared.outbox import Send

MAX_LEASES = 32
"""Webhooks that a process sends for at once."""
POLL_SECONDS = 1.0
"""Within which what other replicas left, and retries that have become due, are found."""
STOP_SECONDS = 3.0
"""How long requests that run may take to end when the process stops. What is cut off is sent again elsewhere."""
PURGE_SCHEDULE = "* * * * *"

logger = logging.getLogger(__name__)


def consumer(deliveries: DeliveryOperations) -> Send:
    """Return the consumer of the outbox that writes deliveries."""

    async def send(_: str, events: Sequence[event_pb2.Event]) -> Sequence[event_pb2.Result]:
        await deliveries.take(events=[convert.occurrence(event) for event in events])
        return [event_pb2.Result(id=event.id) for event in events]

    return send


def periodic(deliveries: DeliveryOperations) -> Sequence[Periodic]:
    """Return what runs on a schedule."""
    return [Periodic("purge_webhooks", PURGE_SCHEDULE, deliveries.purge)]


def retentions(keep: timedelta) -> Sequence[Retention]:
    """Return the retention of deliveries."""
    return [Retention("webhook_deliveries", "create_time", keep)]


class WebhookSender:
    """Sends due deliveries for as long as it runs; every replica has one."""

    def __init__(self, deliveries: DeliveryOperations, wake: asyncio.Event) -> None:
        """Look for due deliveries when `wake` is set, and every second."""
        self._deliveries = deliveries
        self._wake = wake
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send until cancelled, and then for a little longer what is being sent."""
        try:
            while True:
                self._wake.clear()
                if not await self._send_due():
                    await self._rest()
        finally:
            if self._running:
                await asyncio.wait(self._running, timeout=STOP_SECONDS)
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _send_due(self) -> bool:
        """Start what is due as far as there is room; return whether there was anything."""
        free = MAX_LEASES - len(self._running)
        if not free:
            return False
        try:
            leases = await self._deliveries.claim(limit=free)
        except DomainError as error:
            logger.warning("webhook deliveries are not available", extra={"reason": error.reason})
            return False
        for lease in leases:
            task = asyncio.create_task(self._deliver(lease))
            self._running.add(task)
            task.add_done_callback(self._done)
        return bool(leases)

    async def _deliver(self, lease: Lease) -> None:
        """Send for one webhook. After an error its lease expires, and the deliveries are attempted again."""
        try:
            await self._deliveries.deliver(lease=lease)
        except DomainError as error:
            logger.warning(
                "webhook attempts were not recorded", extra={"webhook": lease.webhook_id, "reason": error.reason}
            )
        except Exception:
            logger.exception("webhook delivery failed", extra={"webhook": lease.webhook_id})

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
