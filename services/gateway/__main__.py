"""Runs the gateway: `python -m services.gateway`."""

import services.shared.start  # noqa: F401 - for what it does
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from services.shared.server import main

if __name__ == "__main__":
    main("gateway", GatewaySettings, build)
