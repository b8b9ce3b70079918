"""DeviceService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import device_service_pb2 as pb
from azora.auth.v1 import device_service_pb2_grpc

from services.auth.devices import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.auth.devices.operations import DeviceOperations


class DeviceServicer(device_service_pb2_grpc.DeviceServiceServicer):
    """The caller's known devices."""

    def __init__(self, operations: DeviceOperations) -> None:
        self._operations = operations

    async def ListDevices(self, request: pb.ListDevicesRequest, context: Context) -> pb.ListDevicesResponse:
        page = await self._operations.list_devices(
            principal=current_principal(), page_size=request.page_size, page_token=request.page_token
        )
        return convert.list_devices_response(page)

    async def RevokeDevice(self, request: pb.RevokeDeviceRequest, context: Context) -> pb.RevokeDeviceResponse:
        await self._operations.revoke_device(principal=current_principal(), device_id=request.device_id)
        return pb.RevokeDeviceResponse()
