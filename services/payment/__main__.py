"""Runs Payment: `python -m services.payment` serves, `python -m services.payment migrate` migrates."""

import services.shared.start  # noqa: F401 - for what it does
from services.payment.app import build
from services.payment.settings import PaymentSettings
from services.shared.server import main

if __name__ == "__main__":
    main("payment", PaymentSettings, build)
