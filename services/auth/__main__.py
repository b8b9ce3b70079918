"""Runs Auth: `python -m services.auth` serves, `python -m services.auth migrate` migrates."""

import services.shared.start  # noqa: F401 - for what it does
from services.auth.app import build
from services.auth.settings import AuthSettings
from services.shared.server import main

if __name__ == "__main__":
    main("auth", AuthSettings, build)
