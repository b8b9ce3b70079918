"""The one-command system with a certificate on its public port: every client and every command speaks TLS to it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from services.deployment.pki import ensure_pki
from tests.support.certificates import issue, serial_number
from tests.support.services import ALL_HEALTHY
from tests.support.system import local_system
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("azora.example.com", "localhost")


def test_the_public_port_speaks_tls_and_takes_up_a_renewed_certificate(tmp_path: Path) -> None:
    ensure_pki(tmp_path)  # An authority that nothing of the system knows.
    public = issue(tmp_path, tmp_path, "public", dns=NAMES)
    files = {"AZORA_PUBLIC_CERTIFICATE": str(public.certificate), "AZORA_PUBLIC_KEY": str(public.key)}
    with local_system(**files) as system:
        system.start()  # And seeds, over TLS.
        trust = ssl.create_default_context(cafile=public.authority)
        url = f"https://localhost:{system.port}"
        assert f"curl --cacert CA.crt {url}/v1/courses" in system.output
        with httpx.Client(base_url=url, verify=trust, trust_env=False) as http:
            answer = http.get("/health")
            assert answer.json()["services"] == ALL_HEALTHY
            assert "max-age" in answer.headers["strict-transport-security"]
            assert len(http.get("/v1/courses").json()["courses"]) == 2
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{system.edge}/v1/courses", trust_env=False)
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{url}/health", trust_env=False)
        for command in ("demo", "status"):
            done = system.azora(command)
            assert done.returncode == 0, done.stdout + done.stderr
        issue(tmp_path, tmp_path, "public", dns=NAMES)
        renewed = serial_number(public.certificate)
        assert eventually_sync(lambda: served_serial_number(url, trust) == renewed)


def served_serial_number(url: str, trust: ssl.SSLContext) -> int:
    with httpx.Client(verify=trust, trust_env=False) as http, http.stream("GET", f"{url}/health") as answer:
        shown = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()
    return int(shown["serialNumber"], 16)
