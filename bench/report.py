"""What is printed: what was to be reached, and below it what each subject did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from bench.statistics import median_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.compare import Result, Rounds
    from bench.statistics import Round

WIDTH = 130
"""Of the tables, also where nobody looks at a terminal."""
COLOURS = {"goal": "green", "at least": "yellow", "no": "red", "-": "none"}
RATIO = "x"


def print_report(results: Sequence[Result], measured: Mapping[str, Rounds], note: str) -> None:
    """Print both tables."""
    console = Console(width=WIDTH)
    console.print(_subjects(measured))
    console.print(_reach(results))
    console.print(note, highlight=False)


def _reach(results: Sequence[Result]) -> Table:
    table = Table(title="Reach", title_justify="left")
    for heading in ("what", "measured", "at least", "goal", "reached", "by CPU"):
        table.add_column(heading, justify="left" if heading in {"what", "reached"} else "right", no_wrap=True)
    for result in results:
        reached = result.reached
        limits = (result.at_least, result.goal)
        table.add_row(
            result.what,
            _amount(result.measured, result.unit),
            *("-" if limit is None else _amount(limit, result.unit) for limit in limits),
            f"[{COLOURS[reached]}]{reached}[/]",
            "" if result.cpu is None else _amount(result.cpu, RATIO),
        )
    return table


def _amount(value: float, unit: str) -> str:
    if unit == RATIO:
        return f"{value:.2f}{unit}"
    return f"{value:.2f} {unit}" if unit in {"s", "ms"} else f"{value:.0f} {unit}"


def _subjects(measured: Mapping[str, Rounds]) -> Table:
    table = Table(title="Medians over rounds", title_justify="left")
    for heading in ("call", "answered by", "calls/s", "p50 ms", "p99 ms", "CPU us a call"):
        table.add_column(heading, justify="left" if heading in {"call", "answered by"} else "right", no_wrap=True)
    for call, subjects in measured.items():
        for number, (name, rounds) in enumerate(subjects.items()):
            table.add_row(
                "" if number else call,
                name,
                f"{median_of(rounds, lambda each: each.calls_per_second):,.0f}",
                f"{median_of(rounds, lambda each: each.percentile_ms(50)):.2f}",
                f"{median_of(rounds, lambda each: each.percentile_ms(99)):.2f}",
                _cpu(rounds),
            )
        table.add_section()
    return table


def _cpu(rounds: Sequence[Round]) -> str:
    used = median_of(rounds, lambda each: each.cpu_microseconds)
    return f"{used:,.0f}" if used else "-"
