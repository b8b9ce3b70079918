"""Webhook operations, and the delivery of events."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.payment.errors import (
    AllUsersNotAllowed,
    WebhookDeliveryNotFound,
    WebhookDisabled,
    WebhookEventTypeUnknown,
    WebhookLimitReached,
    WebhookNotFound,
    WebhookUrlInvalid,
)
from services.payment.webhooks.model import (
    GONE,
    MAX_WEBHOOKS,
    Attempt,
    DeliveryState,
    DisableReason,
    EventTypeInfo,
    WebhookState,
    judge,
    new_secret,
    secret_text,
    signed_headers,
)
from services.shared.backoff import backoff_seconds
from services.shared.errors import DomainError
from services.shared.events import declared_events
from services.shared.ids import new_id
from services.shared.outbound_http import RequestFailed, Url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.payment.webhooks.model import (
        Delivery,
        Lease,
        NewWebhook,
        Occurrence,
        Outcome,
        PendingDeliveries,
        Webhook,
        WebhookChanges,
    )
    from services.payment.webhooks.store import DeliveryStore, WebhookStore
    from services.shared.db import Database
    from services.shared.encryption import Encryption
    from services.shared.outbound_http import AddressPolicy, OutboundHttp
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal

MANAGE = "PERMISSION_WEBHOOKS_MANAGE"
USER_AGENT = "Azora-Webhooks/1.0"
BATCH = 8
"""Deliveries of one webhook that are sent at once."""
LEASE = timedelta(seconds=90)
"""Longer than a round of attempts takes: the longest timeout that can be set, and two transactions."""
PURGE_BATCH = 5_000

logger = logging.getLogger(__name__)


class WebhookOperations:
    """Webhooks of users, managed by these, and of the platform, managed by administrators."""

    def __init__(
        self,
        *,
        database: Database,
        store: WebhookStore,
        deliveries: DeliveryStore,
        pages: PageTokens,
        encryption: Encryption,
        addresses: AddressPolicy,
        wake: asyncio.Event,
    ) -> None:
        """Set `wake` when a delivery has become due."""
        self._database = database
        self._store = store
        self._deliveries = deliveries
        self._pages = pages
        self._encryption = encryption
        self._addresses = addresses
        self._wake = wake
        self._event_types = tuple(
            sorted(
                (EventTypeInfo(event.webhook.type, event.name) for event in declared_events() if event.webhook),
                key=lambda known: known.type,
            )
        )

    async def create_webhook(self, *, principal: Principal, new: NewWebhook) -> tuple[Webhook, str]:
        """Create a webhook; return it and its secret.

        Raises AllUsersNotAllowed, WebhookUrlInvalid, WebhookEventTypeUnknown, WebhookLimitReached.
        """
        if new.all_users and not principal.may(MANAGE):
            raise AllUsersNotAllowed
        self._check_url(new.url)
        self._check_event_types(new.event_types)
        owner = "" if new.all_users else principal.user_id
        webhook_id, secret = new_id(), new_secret()

        async def work(connection: AsyncConnection) -> Webhook:
            await self._store.lock_owner(connection, owner)
            if await self._store.count_webhooks(connection, owner) >= MAX_WEBHOOKS:
                raise WebhookLimitReached(max_webhooks=MAX_WEBHOOKS)
            sealed = self._encryption.encrypt(secret, row_id=webhook_id)
            return await self._store.insert_webhook(connection, webhook_id, owner, new, sealed)

        return await self._database.transaction(work), secret_text(secret)

    async def list_webhooks(
        self, *, principal: Principal, all_users: bool, page_size: int, page_token: str
    ) -> Page[Webhook]:
        """Return a page of the caller's webhooks, or of all there are. Raises AllUsersNotAllowed, PageTokenInvalid."""
        if all_users and not principal.may(MANAGE):
            raise AllUsersNotAllowed
        user_id = None if all_users else principal.user_id
        bound_to = {"method": "ListWebhooks", "user": user_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_webhooks(connection, request, user_id)
        return request.page(found, lambda webhook: [webhook.id])

    async def get_webhook(self, *, principal: Principal, webhook_id: str) -> Webhook:
        """Return a webhook of the caller's, or any to administrators. Raises WebhookNotFound."""
        async with self._database.reading() as connection:
            return _visible(principal, await self._store.find_webhook(connection, webhook_id))

    async def update_webhook(self, *, principal: Principal, webhook_id: str, changes: WebhookChanges) -> Webhook:
        """Change a webhook. Raises WebhookNotFound, WebhookUrlInvalid, WebhookEventTypeUnknown."""

        async def work(connection: AsyncConnection) -> Webhook:
            await self._locked(connection, principal, webhook_id)
            if changes.url is not None:
                self._check_url(changes.url)
            self._check_event_types(changes.event_types or ())
            return await self._store.update_webhook(connection, webhook_id, changes)

        return await self._database.transaction(work)

    async def delete_webhook(self, *, principal: Principal, webhook_id: str) -> None:
        """Delete a webhook; nothing is sent to it from now on. Raises WebhookNotFound."""
        await self._change_state(principal, webhook_id, WebhookState.DELETED)

    async def enable_webhook(self, *, principal: Principal, webhook_id: str) -> Webhook:
        """Enable a webhook. Raises WebhookNotFound."""
        enabled = await self._change_state(principal, webhook_id, WebhookState.ENABLED)
        self._wake.set()
        return enabled

    async def disable_webhook(self, *, principal: Principal, webhook_id: str) -> Webhook:
        """Disable a webhook. Raises WebhookNotFound."""
        return await self._change_state(principal, webhook_id, WebhookState.DISABLED, DisableReason.REQUESTED)

    async def rotate_webhook_secret(
        self, *, principal: Principal, webhook_id: str, previous_lifetime: timedelta
    ) -> tuple[Webhook, str]:
        """Replace the secret of a webhook; return it and the new secret. Raises WebhookNotFound."""
        secret = new_secret()

        async def work(connection: AsyncConnection) -> Webhook:
            webhook = await self._locked(connection, principal, webhook_id)
            sealed = self._encryption.encrypt(secret, row_id=webhook_id)
            return await self._store.update_secret(connection, webhook, sealed, previous_lifetime)

        return await self._database.transaction(work), secret_text(secret)

    async def list_webhook_deliveries(
        self, *, principal: Principal, webhook_id: str, state: DeliveryState | None, page_size: int, page_token: str
    ) -> Page[Delivery]:
        """Return a page of a webhook's deliveries, newest first. Raises WebhookNotFound, PageTokenInvalid."""
        await self.get_webhook(principal=principal, webhook_id=webhook_id)
        bound_to = {"method": "ListWebhookDeliveries", "webhook": webhook_id, "state": state}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._deliveries.list_deliveries(connection, request, webhook_id, state)
        return request.page(found, lambda delivery: [delivery.id])

    async def redeliver_webhook_delivery(self, *, principal: Principal, webhook_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again. Raises WebhookNotFound, WebhookDisabled, WebhookDeliveryNotFound."""

        async def work(connection: AsyncConnection) -> Delivery:
            webhook = await self._locked(connection, principal, webhook_id)
            if webhook.state is not WebhookState.ENABLED:
                raise WebhookDisabled
            delivery = await self._deliveries.update_for_redelivery(connection, webhook_id, delivery_id)
            if delivery is None:
                raise WebhookDeliveryNotFound
            return delivery

        due = await self._database.transaction(work)
        self._wake.set()
        return due

    def list_webhook_event_types(self) -> Sequence[EventTypeInfo]:
        """Return the types of events that webhooks carry, as the contract declares them."""
        return self._event_types

    async def _locked(self, connection: AsyncConnection, principal: Principal, webhook_id: str) -> Webhook:
        return _visible(principal, await self._store.lock_webhook(connection, webhook_id))

    async def _change_state(
        self, principal: Principal, webhook_id: str, state: WebhookState, reason: DisableReason | None = None
    ) -> Webhook:
        async def work(connection: AsyncConnection) -> Webhook:
            found = await self._store.lock_webhook(connection, webhook_id)
            webhook = _visible(principal, found, deleted=state is WebhookState.DELETED)
            if webhook.state is state:
                return webhook
            return await self._store.update_state(connection, webhook_id, state, reason)

        return await self._database.transaction(work)

    def _check_url(self, text: str) -> None:
        url = Url.parse(text)
        if url is None or not self._addresses.allows_url(url):
            raise WebhookUrlInvalid.field(
                "url", "must be an https URL of a public host, without user name and fragment"
            )

    def _check_event_types(self, types: Iterable[str]) -> None:
        known = {event_type.type for event_type in self._event_types}
        for event_type in types:
            if event_type not in known:
                raise WebhookEventTypeUnknown(event_type=event_type)


class DeliveryOperations:
    """Takes events of the outbox, and sends them."""

    def __init__(
        self,
        *,
        database: Database,
        webhooks: WebhookStore,
        store: DeliveryStore,
        encryption: Encryption,
        http: OutboundHttp,
        disable_after: timedelta,
        wake: asyncio.Event,
    ) -> None:
        """Disable a webhook that has failed for longer than `disable_after`; set `wake` when a delivery is due."""
        self._database = database
        self._webhooks = webhooks
        self._store = store
        self._encryption = encryption
        self._http = http
        self._disable_after = disable_after
        self._wake = wake

    async def take(self, *, events: Sequence[Occurrence]) -> None:
        """Write the deliveries of events; for one that was taken before, nothing. Raises DependencyUnavailable."""
        await self._database.transaction(lambda connection: self._store.insert_deliveries(connection, events))
        self._wake.set()

    async def claim(self, *, limit: int) -> Sequence[Lease]:
        """Lease up to so many webhooks with due deliveries, each to be given to `deliver`.

        Raises DependencyUnavailable.
        """
        return await self._database.transaction(
            lambda connection: self._webhooks.claim_webhooks(connection, limit=limit, lease=LEASE)
        )

    async def deliver(self, *, lease: Lease) -> None:
        """Attempt due deliveries of a leased webhook at once, and note the outcomes. Raises DependencyUnavailable."""
        async with self._database.reading() as connection:
            webhook = await self._webhooks.find_webhook(connection, lease.webhook_id)
            due = await self._store.list_due_deliveries(connection, lease.webhook_id, limit=BATCH)
        if webhook is None or webhook.state is not WebhookState.ENABLED:
            return
        outcomes = await asyncio.gather(*(self._attempt(webhook, delivery) for delivery in due))

        async def work(connection: AsyncConnection) -> None:
            await self._settle(connection, webhook, lease, outcomes)

        await self._database.transaction(work)

    async def count_pending(self) -> PendingDeliveries | None:
        """Return how many deliveries are still to be sent; None if the database does not answer."""
        try:
            async with self._database.reading() as connection:
                return await self._store.count_pending_deliveries(connection)
        except DomainError:
            return None

    async def purge(self) -> None:
        """Delete the deliveries of deleted webhooks, and these. Raises DependencyUnavailable."""
        deleted = PURGE_BATCH
        while deleted == PURGE_BATCH:
            deleted = await self._database.transaction(
                lambda connection: self._webhooks.delete_webhooks(connection, limit=PURGE_BATCH)
            )

    async def _attempt(self, webhook: Webhook, delivery: Delivery) -> Outcome:
        started, clock = datetime.now(UTC), time.monotonic()
        status, retry_after_seconds, error = 0, 0, ""
        try:
            status, retry_after_seconds = await self._send(webhook, delivery, int(started.timestamp()))
        except RequestFailed as failed:
            error = failed.reason
        attempt = Attempt(started, status, error, round((time.monotonic() - clock) * 1000))
        if not attempt.succeeded:
            details = {
                "webhook": webhook.id,
                "delivery": delivery.id,
                "attempt": delivery.failures + 1,
                "reason": error or f"HTTP {status}",
            }
            logger.warning("webhook attempt failed", extra=details)
        return judge(
            delivery,
            attempt,
            retry_after=timedelta(seconds=retry_after_seconds),
            jitter=random.uniform(-1, 1),  # noqa: S311 - jitter, not a secret
        )

    async def _send(self, webhook: Webhook, delivery: Delivery, timestamp: int) -> tuple[int, int]:
        """Send the request; return the response's status and the delay in seconds that it asks for."""
        url = Url.parse(webhook.url)
        if url is None:
            raise RequestFailed("URL_NOT_ALLOWED")
        secrets = [self._encryption.decrypt(sealed, row_id=webhook.id) for sealed in webhook.secrets_sealed]
        headers = {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            **signed_headers(secrets, message_id=delivery.event_id, timestamp=timestamp, payload=delivery.payload),
        }
        response = await self._http.post(url, headers=headers, content=delivery.payload)
        return response.status, response.retry_after_seconds

    async def _settle(
        self, connection: AsyncConnection, webhook: Webhook, lease: Lease, outcomes: Sequence[Outcome]
    ) -> None:
        """Note the attempts. Where all of them failed the webhook pauses, for new events too."""
        failed = bool(outcomes) and not any(outcome.attempt.succeeded for outcome in outcomes)
        failures = webhook.failures + 1 if failed else 0
        failed_for_long = await self._webhooks.update_lease(
            connection,
            lease,
            failures=failures,
            pause=timedelta(seconds=backoff_seconds(failures)) if failed else timedelta(0),
            disable_after=self._disable_after,
        )
        if outcomes:
            await self._store.update_deliveries(connection, outcomes)
        gone = any(outcome.attempt.response_status == GONE for outcome in outcomes)
        if gone or failed_for_long:
            current = await self._webhooks.lock_webhook(connection, webhook.id)
            if current is not None and current.state is WebhookState.ENABLED:
                reason = DisableReason.GONE if gone else DisableReason.FAILING
                await self._webhooks.update_state(connection, webhook.id, WebhookState.DISABLED, reason)
                logger.warning("webhook disabled", extra={"webhook": webhook.id, "reason": reason.value})


def _visible(principal: Principal, webhook: Webhook | None, *, deleted: bool = False) -> Webhook:
    if webhook is None or (webhook.state is WebhookState.DELETED and not deleted):
        raise WebhookNotFound
    if webhook.user_id != principal.user_id and not principal.may(MANAGE):
        raise WebhookNotFound
    return webhook
