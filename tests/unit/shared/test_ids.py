"""Identifiers are UUIDv7 and come in the order of time."""

from __future__ import annotations

import time
import uuid

from services.shared.ids import new_id


def test_ids_are_version_7_and_carry_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_a_later_id_is_greater() -> None:
    first = new_id()
    started = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == started:
        pass
    assert first < new_id()
    assert len({new_id() for _ in range(1000)}) == 1000
