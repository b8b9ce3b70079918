"""Measures the system's calls beside a bare gRPC echo, in one run on this machine, and prints what it measured.

Times differ from machine to machine and from minute to minute; the ratios within one run are what to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.calls import Calls
from bench.load import Measured, measure
from bench.peer import echo_peer
from bench.system import running_system

WIDTH = 110
"""Of the table, also where nobody looks at a terminal."""


def main() -> None:
    """Run every measurement and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="how long each call is measured at each concurrency")
    parser.add_argument("--concurrency", type=int, default=16, help="callers at once, in the second measurement")
    options = parser.parse_args()
    asyncio.run(_run(options.seconds, options.concurrency))


async def _run(seconds: float, concurrency: int) -> None:
    table = Table(title=f"{seconds:g} s each, at 1 and at {concurrency} callers", title_justify="left")
    for heading in ("call", "p50 ms", "p99 ms", "calls/s", f"calls/s at {concurrency}", "p99 ms", "vs echo"):
        table.add_column(heading, justify="left" if heading == "call" else "right", no_wrap=True)
    with tempfile.TemporaryDirectory(prefix="azb") as folder:
        async with echo_peer() as echo:
            peer = await _both(echo, seconds, concurrency)
        _row(table, "bare grpc.aio echo (peer)", peer, peer)
        async with running_system(Path(folder)) as edge, Calls.connect(edge) as calls:
            for name, call in calls.named().items():
                _row(table, name, await _both(call, seconds, concurrency), peer)
            await calls.check_books()
    Console(width=WIDTH).print(table)


async def _both(call: object, seconds: float, concurrency: int) -> tuple[Measured, Measured]:
    return await measure(call, 1, seconds), await measure(call, concurrency, seconds)  # type: ignore[arg-type]


def _row(table: Table, name: str, measured: tuple[Measured, Measured], peer: tuple[Measured, Measured]) -> None:
    alone, crowded = measured
    table.add_row(
        name,
        f"{alone.percentile_ms(50):.2f}",
        f"{alone.percentile_ms(99):.2f}",
        f"{alone.per_second:,.0f}",
        f"{crowded.per_second:,.0f}",
        f"{crowded.percentile_ms(99):.1f}",
        f"{crowded.per_second / peer[1].per_second:.2f}",
    )


main()
