"""The names of the services, from the contract."""

from __future__ import annotations

from services.cli.options import served
from services.compiler.contract import load_contract

SERVICES = load_contract().owners
SERVED = served()
"""The services and the gateway."""
ALL_HEALTHY = dict.fromkeys(SERVICES, "healthy")
