"""Known devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

MAX_DEVICES = 50
"""Maximum number of a user's devices: the one that was not used for longest makes room."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a user has signed in from."""

    id: str
    user_id: str
    name: str
    create_time: datetime
    last_use_time: datetime
