"""WebhookService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.payment.v1 import webhook_service_pb2 as pb
from azora.payment.v1 import webhook_service_pb2_grpc

from services.payment.webhooks import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.payment.webhooks.operations import WebhookOperations


class WebhookServicer(webhook_service_pb2_grpc.WebhookServiceServicer):
    """Webhooks and their deliveries."""

    def __init__(self, operations: WebhookOperations) -> None:
        self._operations = operations

    async def CreateWebhook(self, request: pb.CreateWebhookRequest, context: Context) -> pb.CreateWebhookResponse:
        created = await self._operations.create_webhook(principal=current_principal(), new=convert.new_webhook(request))
        return convert.create_webhook_response(created)

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, context: Context) -> pb.ListWebhooksResponse:
        page = await self._operations.list_webhooks(
            principal=current_principal(),
            all_users=request.all_users,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_webhooks_response(page)

    async def GetWebhook(self, request: pb.GetWebhookRequest, context: Context) -> pb.GetWebhookResponse:
        webhook = await self._operations.get_webhook(principal=current_principal(), webhook_id=request.webhook_id)
        return convert.get_webhook_response(webhook)

    async def UpdateWebhook(self, request: pb.UpdateWebhookRequest, context: Context) -> pb.UpdateWebhookResponse:
        webhook = await self._operations.update_webhook(
            principal=current_principal(), webhook_id=request.webhook_id, changes=convert.webhook_changes(request)
        )
        return convert.update_webhook_response(webhook)

    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, context: Context) -> pb.DeleteWebhookResponse:
        await self._operations.delete_webhook(principal=current_principal(), webhook_id=request.webhook_id)
        return pb.DeleteWebhookResponse()

    async def EnableWebhook(self, request: pb.EnableWebhookRequest, context: Context) -> pb.EnableWebhookResponse:
        webhook = await self._operations.enable_webhook(principal=current_principal(), webhook_id=request.webhook_id)
        return convert.enable_webhook_response(webhook)

    async def DisableWebhook(self, request: pb.DisableWebhookRequest, context: Context) -> pb.DisableWebhookResponse:
        webhook = await self._operations.disable_webhook(principal=current_principal(), webhook_id=request.webhook_id)
        return convert.disable_webhook_response(webhook)

    async def RotateWebhookSecret(
        self, request: pb.RotateWebhookSecretRequest, context: Context
    ) -> pb.RotateWebhookSecretResponse:
        rotated = await self._operations.rotate_webhook_secret(
            principal=current_principal(),
            webhook_id=request.webhook_id,
            previous_lifetime=convert.previous_lifetime(request),
        )
        return convert.rotate_webhook_secret_response(rotated)

    async def ListWebhookDeliveries(
        self, request: pb.ListWebhookDeliveriesRequest, context: Context
    ) -> pb.ListWebhookDeliveriesResponse:
        page = await self._operations.list_webhook_deliveries(
            principal=current_principal(),
            webhook_id=request.webhook_id,
            state=convert.delivery_state(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_webhook_deliveries_response(page)

    async def RedeliverWebhookDelivery(
        self, request: pb.RedeliverWebhookDeliveryRequest, context: Context
    ) -> pb.RedeliverWebhookDeliveryResponse:
        delivery = await self._operations.redeliver_webhook_delivery(
            principal=current_principal(), webhook_id=request.webhook_id, delivery_id=request.delivery_id
        )
        return convert.redeliver_webhook_delivery_response(delivery)

    async def ListWebhookEventTypes(
        self, request: pb.ListWebhookEventTypesRequest, context: Context
    ) -> pb.ListWebhookEventTypesResponse:
        return convert.list_webhook_event_types_response(self._operations.list_webhook_event_types())
