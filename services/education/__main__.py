"""Runs Education: `python -m services.education` serves, `python -m services.education migrate` migrates."""

from services.education.app import build
from services.education.settings import EducationSettings
from services.shared.server import main

if __name__ == "__main__":
    main("education", EducationSettings, build)
