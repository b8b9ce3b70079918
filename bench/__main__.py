"""Measures what requests cost, beside peers in the same run on the same machine, and prints it.

Times differ from machine to machine and from minute to minute; the ratios within one run are what to compare. Every
comparison is measured in interleaved rounds (A B C A B C ...) and reported by its medians. CPU time is that of every
process that answers: Envoy, the service, PostgreSQL with its backends, or the peer.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import catalogue, sign_in, writes
from bench.calls import Stage
from bench.compare import Result, interleaved
from bench.errors import BenchmarkError
from bench.ledger import Ledger
from bench.lessons import Lessons
from bench.load import H2LOAD
from bench.profiles import profile
from bench.report import print_report
from bench.system import People, running_system

if TYPE_CHECKING:
    from bench.compare import Rounds

PAGE_SIZE = 20
"""Courses in the catalogue: a full page of the default size."""
QUICK, FULL = (5, 1.5), (7, 3.0)
"""Rounds, and seconds of each."""
LOGIN_ROUNDS, LOGIN_SECONDS = 3, 5
LONG_HISTORY = 1_000_000
"""Entries."""


def main() -> None:
    """Run the measurements that the arguments ask for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="every row: longer rounds, one caller, writes, the ledger")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison")
    parser.add_argument("--seconds", type=float, help="length of a round")
    parser.add_argument("--callers", type=int, default=16, help="callers at once")
    parser.add_argument("--courses", type=int, default=PAGE_SIZE, help="courses in the catalogue")
    parser.add_argument("--only", default="", metavar="TEXT", help="only comparisons whose name contains this")
    parser.add_argument("--profile", action="store_true", help="print profiles of the hot paths instead")
    asyncio.run(_until_signal(parser.parse_args()))


async def _until_signal(options: argparse.Namespace) -> None:
    """Run; at the first Ctrl-C or SIGTERM end in order all that was started, and let nothing cut that short."""
    task = asyncio.create_task(_run(options))

    def end() -> None:
        if not task.cancelling():
            _say("stopping")
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        await task
    except asyncio.CancelledError:
        sys.exit(130)
    except BenchmarkError as error:
        sys.exit(f"{type(error).__name__}: {error}")


async def _run(options: argparse.Namespace) -> None:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="azb") as name:
        folder, private = _folders(Path(name))
        async with running_system(folder / "home") as system:
            _say(f"first start, with migrations and seeds: {system.start_seconds:.1f} s")
        async with (
            running_system(folder / "home") as system,
            People.signed_in(system.edge) as people,
            AsyncExitStack() as stack,
        ):
            _say(f"started in {system.start_seconds:.1f} s; {'h2load' if H2LOAD else 'our own client'} makes the load")
            await people.write_courses(min(options.courses, PAGE_SIZE))
            if options.courses > PAGE_SIZE:
                await catalogue.fill(system, options.courses - PAGE_SIZE)
            stage = await Stage.set(stack, private, system, people)
            await stage.check_agreement()
            await (_profile(private, stage) if options.profile else _measure(options, stage, private, begun))


def _folders(folder: Path) -> tuple[Path, Path]:
    """Let others pass through the folder, and make one in it that is private.

    Root's PostgreSQL runs as another user, and would keep its data where they would outlive this run.
    """
    folder.chmod(0o711)
    private = folder / "bench"
    private.mkdir(mode=0o700)
    return folder, private


async def _profile(folder: Path, stage: Stage) -> None:
    for name, service, request in stage.hot_paths():
        print(f"\n{name}: {await profile(folder, stage.system, service, request, callers=16, seconds=3)}")


async def _measure(options: argparse.Namespace, stage: Stage, folder: Path, begun: float) -> None:
    rounds, seconds = FULL if options.full else QUICK
    rounds, seconds = options.rounds or rounds, options.seconds or seconds
    wanted = [*stage.quick(), catalogue.filtered(stage.system), *(stage.more() if options.full else ())]
    measured: dict[str, Rounds] = {}
    results: list[Result] = []
    for comparison in (each for each in wanted if options.only in each.name):
        _say(comparison.name)
        measured[comparison.name] = await interleaved(
            comparison, rounds=rounds, callers=options.callers, seconds=seconds
        )
        results += comparison.results(measured[comparison.name])
        if options.full:
            measured[f"{comparison.name}, 1 caller"] = await interleaved(
                comparison, rounds=1, callers=1, seconds=seconds
            )
    results += await _search(options, stage, measured, rounds=rounds, seconds=seconds)
    results.append(Result("make run, warm, from start to healthy", stage.system.start_seconds, "s", 5, 4))
    if options.full and not options.only:
        results += await _write(stage, measured, rounds=rounds, callers=options.callers, seconds=seconds)
        async with AsyncExitStack() as stack:
            _say("lessons")
            lessons = await Lessons.set(stack, folder, stage.system, stage.people)
            results += await lessons.results(measured, rounds=rounds, callers=options.callers, seconds=seconds)
            _say("ledger")
            ledger = await Ledger.set(stack, folder, stage.system)
            results += await ledger.results(measured, rounds=rounds, seconds=seconds, entries=LONG_HISTORY)
    rows = f"{rounds} rounds of {seconds:g} s at {options.callers} callers, {options.courses} courses"
    print_report(results, measured, f"{rows}; the whole took {time.monotonic() - begun:.0f} s.")


async def _search(
    options: argparse.Namespace, stage: Stage, measured: dict[str, Rounds], *, rounds: int, seconds: float
) -> list[Result]:
    comparison = catalogue.search(stage.system, stage.people)
    if options.courses < catalogue.MANY or options.only not in comparison.name:
        return []
    _say(comparison.name)
    measured[comparison.name] = await interleaved(comparison, rounds=rounds, callers=1, seconds=seconds)
    return comparison.results(measured[comparison.name])


async def _write(
    stage: Stage, measured: dict[str, Rounds], *, rounds: int, callers: int, seconds: float
) -> list[Result]:
    system, people = stage.system, stage.people
    await writes.fill_wallet(people)
    paying = writes.payments(system, people)
    _say(paying.name)
    measured[paying.name] = await interleaved(paying, rounds=rounds, callers=callers, seconds=seconds)
    _say("login")
    signing_in = await sign_in.measure(system, people, rounds=LOGIN_ROUNDS, seconds=LOGIN_SECONDS)
    measured |= signing_in.rounds
    _say("events")
    waiting = await writes.backlog_after_load(system, people, callers=callers, seconds=seconds)
    await people.check_books()
    return [*signing_in.results(), waiting]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


main()
