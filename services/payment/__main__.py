"""Runs Payment: `python -m services.payment` serves, `python -m services.payment migrate` migrates."""

from services.payment.app import build
from services.payment.settings import PaymentSettings
from services.shared.server import main

if __name__ == "__main__":
    main("payment", PaymentSettings, build)
