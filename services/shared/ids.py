"""Identifiers: UUIDv7 (RFC 9562), ordered by time, so that a primary key is also an order."""

from __future__ import annotations

import os
import time

VARIANTS = "89ab"
"""First digit of the fourth group: RFC 9562's variant and two random bits."""


def new_id() -> str:
    """Return a new UUIDv7: 48 bits of milliseconds since 1970, then random bits."""
    time_ = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10)
    rest = random.hex()
    return f"{time_[:8]}-{time_[8:]}-7{rest[:3]}-{VARIANTS[random[9] & 3]}{rest[3:6]}-{rest[6:18]}"
