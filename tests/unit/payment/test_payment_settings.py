"""Settings of Payment."""

from __future__ import annotations

import base64
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from services.payment.settings import PaymentSettings
from services.shared.settings import SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PaymentSettings]:
    def networks(value: str, env: str = "development") -> PaymentSettings:
        monkeypatch.setenv("AZORA_LISTEN", "unix:/x")
        monkeypatch.setenv("AZORA_DATABASE_URL", "postgresql://")
        monkeypatch.setenv("AZORA_SECRET_KEY", base64.b64encode(bytes(range(32))).decode())
        monkeypatch.setenv("AZORA_WEBHOOK_ALLOWED_NETWORKS", value)
        monkeypatch.setenv("AZORA_ENV", env)
        return load(PaymentSettings)

    return networks


def test_webhooks_reach_public_addresses_alone_unless_networks_are_named(
    read: Callable[..., PaymentSettings],
) -> None:
    assert read("").webhook_networks == ()
    assert read("127.0.0.0/8, ::1/128").webhook_networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.mark.parametrize("value", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/8;fd00::/8"])
def test_what_is_no_network_is_refused(read: Callable[..., PaymentSettings], value: str) -> None:
    with pytest.raises(SettingsError, match=r"AZORA_WEBHOOK_ALLOWED_NETWORKS: .* CIDR") as refused:
        read(value)
    assert value not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [
        "127.0.0.0/8",
        "10.0.0.0/8,::1/128",
        "169.254.169.254/32",
        "fe80::/10",
        "0.0.0.0/0",
        "::/0",
        "169.0.0.0/8",
        "0.0.0.0/32",
    ],
)
def test_webhooks_of_production_do_not_reach_its_own_machines(read: Callable[..., PaymentSettings], value: str) -> None:
    assert read("10.0.0.0/8,fd00::/8", env="production").webhook_networks
    with pytest.raises(SettingsError, match="AZORA_WEBHOOK_ALLOWED_NETWORKS must not contain loopback or link-local"):
        read(value, env="production")
