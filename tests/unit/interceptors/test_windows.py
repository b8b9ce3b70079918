"""Counting in this process: what a minute allows, and when the next hit is allowed."""

from __future__ import annotations

import pytest

from interceptors.windows import Windows

KEY = ("MONEY", "user", "u")


class Clock:
    def __init__(self) -> None:
        self.now = 600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_limit_is_exact_within_a_minute_and_each_key_has_its_own(clock: Clock) -> None:
    windows = Windows(clock)
    assert [windows.hit(KEY, 3)[:2] for _ in range(4)] == [(True, 2), (True, 1), (True, 0), (False, 0)]
    assert windows.hit((*KEY, "other"), 3)[0]


def test_the_last_minute_counts_by_what_is_left_of_it(clock: Clock) -> None:
    windows = Windows(clock)
    for _ in range(10):
        windows.hit(KEY, 10)
    clock.now += 60
    assert not windows.hit(KEY, 10)[0]
    clock.now += 30
    assert [windows.hit(KEY, 10)[0] for _ in range(6)] == [True] * 5 + [False]
    clock.now += 120
    assert windows.hit(KEY, 10)[:2] == (True, 9), "older ones are forgotten"


@pytest.mark.parametrize("limit", [1, 5, 60, 600])
@pytest.mark.parametrize("into", [0.0, 0.5, 17.0, 59.9])
@pytest.mark.parametrize("before", [0.0, 1.0])
def test_who_waits_as_long_as_told_is_let_in_and_not_much_later_than_needed(
    clock: Clock, limit: int, into: float, before: float
) -> None:
    windows = Windows(clock)
    for _ in range(int(before * limit)):
        windows.hit(KEY, limit)
    clock.now += 60 * bool(before) + into
    while windows.hit(KEY, limit)[0]:
        pass
    allowed, remaining, seconds = windows.hit(KEY, limit)
    assert (allowed, remaining) == (False, 0)
    assert 1 <= seconds <= 61
    clock.now += seconds
    assert windows.hit(KEY, limit)[0]


def test_nothing_is_kept_of_callers_who_went_away(clock: Clock) -> None:
    windows = Windows(clock)
    for number in range(100):
        windows.hit((str(number),), 5)
    clock.now += 120
    windows.hit(KEY, 5)
    assert len(windows._current) + len(windows._previous) == 1


def test_a_hit_can_count_as_many_and_then_needs_room_for_all_of_them(clock: Clock) -> None:
    windows = Windows(clock)
    assert windows.hit(KEY, 10, cost=7)[:2] == (True, 3)
    assert windows.hit(KEY, 10, cost=4) == (False, 3, 61)
    assert windows.hit(KEY, 10, cost=3)[:2] == (True, 0)
    clock.now += 60
    allowed, left, seconds = windows.hit(KEY, 10, cost=4)
    assert (allowed, left) == (False, 0)
    clock.now += seconds - 2
    assert not windows.hit(KEY, 10, cost=4)[0]
    clock.now += 2
    assert windows.hit(KEY, 10, cost=4)[0]
