"""Names of people."""

from __future__ import annotations

from dataclasses import dataclass

ERASED_VERSION = 2**63 - 1
"""Version of the empty name of an erased person: no event that arrives late restores a name."""


@dataclass(frozen=True, slots=True)
class UserRenamed:
    """Auth's event: a user's display name was set or changed."""

    user_id: str
    name: str
    version: int
    """The greatest version is the current name; events come in any order."""
