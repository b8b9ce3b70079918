"""OpenTelemetry's SDK: imported where an endpoint is set, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from services.shared.settings import ServerSettings, SettingsError, load
from services.shared.telemetry import flush, tracer

CONFIGURE = """
import sys
import services.education.app
from services.shared.settings import ServerSettings, load
from services.shared.telemetry import configure, tracer
configure("education", load(ServerSettings))
sdk = ("opentelemetry.sdk", "opentelemetry.exporter")
print(tracer() is not None, any(name.startswith(sdk) for name in sys.modules))
"""


@pytest.mark.parametrize(
    ("endpoint", "printed"), [("", "False False"), ("http://127.0.0.1:1", "True True")], ids=["unset", "set"]
)
def test_the_sdk_is_imported_only_where_an_endpoint_is_set(endpoint: str, printed: str) -> None:
    environment = {"AZORA_LISTEN": "unix:/tmp/s", "AZORA_OTLP_ENDPOINT": endpoint}
    ran = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", CONFIGURE], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == printed


def test_a_process_does_not_wait_for_an_endpoint_that_does_not_answer() -> None:
    gives_up = threading.Event()
    exporter: Any = SimpleNamespace(shutdown=gives_up.set)
    provider: Any = SimpleNamespace(shutdown=lambda: gives_up.wait(60))
    flush(provider, exporter)
    assert gives_up.is_set()


def test_this_process_has_no_tracer() -> None:
    assert tracer() is None


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4317", "https://collector:4317", "http://collector", "http://a:b@c:1"])
def test_an_endpoint_is_a_plain_host_and_port(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AZORA_LISTEN", "unix:/tmp/s")
    monkeypatch.setenv("AZORA_OTLP_ENDPOINT", endpoint)
    with pytest.raises(SettingsError, match="AZORA_OTLP_ENDPOINT"):
        load(ServerSettings)
