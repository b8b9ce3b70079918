"""Comparisons: the system and its peers answering the same call, in interleaved rounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from bench import load
from bench.errors import BenchmarkError
from bench.processes import cpu_seconds
from bench.statistics import Round

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psutil

    from bench.client import Request

WARM_UP_SECONDS, WARM_UP_TRIES = 0.5, 20
WARM_UP_CALLS = 10
"""Of each caller."""

Rounds: TypeAlias = "Mapping[str, Sequence[Round]]"
"""The rounds of each subject, by its name."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a comparison is to reach."""

    what: str
    value: Callable[[Rounds], float]
    at_least: float
    goal: float
    unit: str = "x"
    """Of a ratio "x"; anything else, like "us" and "s", is better when it is less."""
    cpu: Callable[[Rounds], float] | None = None
    """The same ratio by CPU time, where there is one."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured, beside what is to be reached."""

    what: str
    measured: float
    unit: str
    at_least: float | None = None
    """None, like the goal, where nothing was promised."""
    goal: float | None = None
    cpu: float | None = None
    """The same ratio by CPU time: it shows what a second core hides, and hides what a queue costs."""

    @property
    def reached(self) -> str:
        """Return how far it came."""
        if self.at_least is None or self.goal is None:
            return "-"
        sign = 1 if self.unit == "x" else -1
        if sign * self.measured >= sign * self.goal:
            return "goal"
        return "at least" if sign * self.measured >= sign * self.at_least else "no"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who answers, and what it is asked."""

    name: str
    request: Request
    processes: tuple[psutil.Process, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One call, answered by several subjects."""

    name: str
    subjects: tuple[Subject, ...]
    targets: tuple[Target, ...] = field(default=())

    def results(self, rounds: Rounds) -> list[Result]:
        """Return what the rounds say of the targets."""
        return [
            Result(
                target.what,
                target.value(rounds),
                target.unit,
                target.at_least,
                target.goal,
                target.cpu(rounds) if target.cpu else None,
            )
            for target in self.targets
        ]


async def interleaved(comparison: Comparison, *, rounds: int, callers: int, seconds: float) -> Rounds:
    """Measure the subjects one after another, and all of them again and again. Raises WrongAnswer."""
    measured: dict[str, list[Round]] = {subject.name: [] for subject in comparison.subjects}
    for subject in comparison.subjects:
        await warm_up(subject.request, callers)
    for _ in range(rounds):
        for subject in comparison.subjects:
            measured[subject.name].append(await _round(subject, callers, seconds))
    return measured


async def warm_up(request: Request, callers: int) -> None:
    """Send the request until pools are full and statements are prepared: some times from every caller."""
    calls = 0
    for _ in range(WARM_UP_TRIES):
        calls += (await load.load(request, callers, WARM_UP_SECONDS)).calls
        if calls >= WARM_UP_CALLS * callers:
            return


async def _round(subject: Subject, callers: int, seconds: float) -> Round:
    before = cpu_seconds(subject.processes)
    seen = await load.load(subject.request, callers, seconds)
    used = cpu_seconds(subject.processes) - before
    if not seen.calls:
        raise BenchmarkError(f"{subject.name} answered no call of {subject.request.path} in {seconds:g} s")
    return Round(seen.calls, seen.elapsed_seconds, used, seen.latencies_seconds)
