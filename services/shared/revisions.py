"""The revisions of a service's database, without Alembic, which takes longer to import than a command may."""

from __future__ import annotations

from importlib.resources import files


def newest_revision(service: str) -> str:
    """Return the newest revision of a service's migrations, whose files are named <revision>_<what>.py."""
    versions = files(f"services.{service}") / "migrations" / "versions"
    names = (entry.name for entry in versions.iterdir() if entry.name.endswith(".py"))
    return max(name.partition("_")[0] for name in names)
