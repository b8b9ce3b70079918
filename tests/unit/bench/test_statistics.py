"""The figures that `make bench` prints."""

from __future__ import annotations

import pytest

from bench.calls import check_part
from bench.compare import Result
from bench.errors import WrongAnswer
from bench.statistics import Round, added_microseconds, cpu_ratio, median_of, throughput_ratio


def round_of(calls: int, *, elapsed_seconds: float = 1, cpu_seconds: float = 1) -> Round:
    return Round(calls, elapsed_seconds, cpu_seconds, [])


def test_a_round_gives_throughput_and_cost_of_a_call() -> None:
    seen = round_of(500, elapsed_seconds=2, cpu_seconds=0.1)
    assert seen.calls_per_second == 250
    assert seen.cpu_microseconds == pytest.approx(200)


@pytest.mark.parametrize(("percent", "expected_ms"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_a_percentile_is_a_latency_that_was_seen(percent: float, expected_ms: float) -> None:
    latencies = [number / 1000 for number in range(100, 0, -1)]
    assert Round(100, 1, 1, latencies).percentile_ms(percent) == pytest.approx(expected_ms)


def test_one_bad_round_does_not_move_a_median() -> None:
    rounds = [round_of(100), round_of(1), round_of(102)]
    assert median_of(rounds, lambda each: each.calls_per_second) == 100


def test_ratios_are_taken_within_a_round() -> None:
    """The machine was three times slower in the second round, for both: the ratio does not know."""
    ours, theirs = [round_of(300), round_of(100), round_of(330)], [round_of(150), round_of(50), round_of(165)]
    assert throughput_ratio(ours, theirs) == 2
    assert cpu_ratio(ours, theirs) == 2


def test_rounds_without_their_counterpart_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        throughput_ratio([round_of(1), round_of(2)], [round_of(1)])


def test_what_a_part_adds_is_a_difference_within_a_round() -> None:
    whole = [round_of(1000, cpu_seconds=0.3), round_of(1000, cpu_seconds=0.9)]
    part = [round_of(1000, cpu_seconds=0.2), round_of(1000, cpu_seconds=0.8)]
    assert added_microseconds(whole, part) == pytest.approx(100)


@pytest.mark.parametrize(
    ("measured", "unit", "reached"),
    [(3, "x", "goal"), (2.9, "x", "at least"), (1.9, "x", "no"), (1.5, "s", "goal"), (2.5, "s", "no")],
)
def test_a_ratio_is_better_when_it_is_more_and_a_time_when_it_is_less(measured: float, unit: str, reached: str) -> None:
    at_least, goal = (2, 3) if unit == "x" else (2, 1.5)
    assert Result("what", measured, unit, at_least, goal).reached == reached


def test_nothing_is_reached_where_nothing_was_promised() -> None:
    assert Result("what", 1, "x").reached == "-"


def test_a_peer_may_leave_out_and_write_numbers_but_not_answer_otherwise() -> None:
    ours = {"courses": [{"id": "a", "price": {"minorUnits": "4900"}, "createTime": "2026-11-25T23:45:26.511Z"}]}
    same = {"id": "a", "price": {"minorUnits": 4900}, "createTime": "2026-11-25T23:45:26.511000Z"}
    check_part({"courses": [same]}, ours, "catalogue")
    others: list[list[dict[str, str]]] = [
        [],
        [{"id": "b"}],
        [{"title": "more"}],
        [{"createTime": "2026-11-25T23:45:26Z"}],
    ]
    for other in others:
        with pytest.raises(WrongAnswer, match=r"catalogue\.courses"):
            check_part({"courses": other}, ours, "catalogue")
