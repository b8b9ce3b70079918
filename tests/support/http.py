"""An HTTP client for servers on this machine."""

from __future__ import annotations

import ssl
from typing import Any

import httpx

UNUSED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""In place of the default, for which each client would read the certificates of the system."""


def plain_http(base_url: str = "", **options: Any) -> httpx.AsyncClient:
    """Return a client without TLS that heeds no proxy of the environment; `options` are httpx'."""
    return httpx.AsyncClient(base_url=base_url, verify=UNUSED, trust_env=False, **options)
