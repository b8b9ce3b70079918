"""Runs Education: `python -m services.education` serves, `python -m services.education migrate` migrates."""

import services.shared.start  # noqa: F401 - for what it does
from services.education.app import build
from services.education.settings import EducationSettings
from services.shared.server import main

if __name__ == "__main__":
    main("education", EducationSettings, build)
