"""Conversion between known devices and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import device_pb2
from azora.auth.v1 import device_service_pb2 as pb

from services.shared.convert import timestamp

if TYPE_CHECKING:
    from services.auth.devices.model import Device
    from services.shared.pagination import Page


def device(model: Device) -> device_pb2.Device:
    """Return the message of a device, without its token."""
    return device_pb2.Device(
        id=model.id,
        name=model.name,
        create_time=timestamp(model.create_time),
        last_use_time=timestamp(model.last_use_time),
    )


def list_devices_response(page: Page[Device]) -> pb.ListDevicesResponse:
    """Return a page of devices."""
    return pb.ListDevicesResponse(devices=[device(model) for model in page.items], next_page_token=page.next_page_token)
