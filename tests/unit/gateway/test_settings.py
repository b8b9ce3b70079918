"""The gateway's settings."""

from __future__ import annotations

import pytest

from services.gateway.settings import GatewaySettings
from services.shared.settings import SettingsError, load

GOOD = {
    "AZORA_ENV": "development",
    "AZORA_LISTEN": "unix:/run/gateway.sock",
    "AZORA_HTTP_LISTEN": "unix:/run/gateway-http.sock",
    "AZORA_SERVICES": "auth=unix:/run/auth.sock, payment=unix:/run/p.sock,payment=unix:/run/p-1.sock",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_service_may_have_several_addresses() -> None:
    assert load(GatewaySettings).services == {
        "auth": ("unix:/run/auth.sock",),
        "payment": ("unix:/run/p.sock", "unix:/run/p-1.sock"),
    }


@pytest.mark.parametrize("value", ["", "auth", "auth=", "=unix:/run/auth.sock", "auth=unix:/a,,payment=unix:/b"])
def test_addresses_that_make_no_sense_are_refused(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("AZORA_SERVICES", value)
    with pytest.raises(SettingsError, match=r"AZORA_SERVICES: .*must have the form auth=unix:"):
        load(GatewaySettings)


def test_pages_over_tcp_need_mutual_tls(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AZORA_HTTP_LISTEN", "0.0.0.0:8081")
    with pytest.raises(SettingsError, match="AZORA_HTTP_LISTEN is a TCP address"):
        load(GatewaySettings)
    for name in ("CERTIFICATE", "KEY", "AUTHORITY"):
        environment.setenv(f"AZORA_TLS_{name}", f"/run/{name}")
    assert load(GatewaySettings).mutual_tls


def test_the_console_is_for_development(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AZORA_MESH_TARGET", "unix:/run/mesh.sock")
    assert load(GatewaySettings).has_console
    environment.setenv("AZORA_ENV", "production")
    assert not load(GatewaySettings).has_console
    environment.setenv("AZORA_TRACES_LISTEN", "unix:/run/traces.sock")
    with pytest.raises(SettingsError, match="AZORA_TRACES_LISTEN must not be set in production"):
        load(GatewaySettings)


def test_traces_are_received_on_a_socket_alone(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AZORA_TRACES_LISTEN", "0.0.0.0:4317")
    with pytest.raises(SettingsError, match="AZORA_TRACES_LISTEN"):
        load(GatewaySettings)
