"""Tests side by side: those that share something started run in one worker, and those that measure time run alone."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling

from services.shared.cpus import available_cpus
from tests.support.system import stop_system

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

STARTS = ("e2e/test_compose.py", "e2e/test_up.py")
"""Files whose tests start systems of their own; all others of their folder, and the performance tests, share one."""
SYSTEM = "the session's system"
FIRST = (SYSTEM, *(f"tests/{file}" for file in STARTS))
"""What takes longest begins first."""
LAST = "alone"
"""Files with tests that run alone: in one worker, when the others have the least to do."""
MAX_WORKERS = 4
ROOT = Path(__file__).parents[2]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return a worker for each core: one more, and each waits for the others as for a slow machine. At least two."""
    return max(2, min(available_cpus(), MAX_WORKERS))


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and take turns in the workers."""
    config.addinivalue_line("markers", "alone: nothing else runs beside this test, because it measures time.")
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the workers begin with what takes longest, and end with what runs alone."""
    if hasattr(config, "workerinput"):
        order = {unit: number for number, unit in enumerate(FIRST)} | {LAST: len(FIRST) + 1}
        items.sort(key=lambda item: order.get(_unit(item.nodeid), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return the scheduler of `--dist loadfile`, with the tests of the session's system as if of one file."""
    return ByUnit(config, log) if config.getoption("dist") == "loadfile" else None


class ByUnit(LoadFileScheduling):  # type: ignore[misc] # xdist has no types.
    """Gives the workers whole files, and to one of them all that shares the running system, or that runs alone."""

    def _split_scope(self, nodeid: str) -> str:
        return _unit(nodeid)


def _unit(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    if file.startswith(("tests/e2e/", "tests/performance/")) and not file.endswith(STARTS):
        return SYSTEM
    return LAST if _has_tests_alone(file) else file


@cache
def _has_tests_alone(file: str) -> bool:
    return "mark.alone" in (ROOT / file).read_text()


class Turns:
    """Lets the workers' tests run side by side, but for those marked `alone`. The locks are on folders."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        self._queue, self._turn = (os.open(folder, os.O_RDONLY) for folder in (here, here.parent))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run a test, with its fixtures, when it is its turn."""
        alone = item.get_closest_marker("alone") is not None
        with _locked(self._queue, fcntl.LOCK_EX):  # First come, first served: whoever waits to be alone is next.
            fcntl.flock(self._turn, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        try:
            return (yield)
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Stop the session's system after the last test that uses it: it takes a third of a core while it runs."""
        if nextitem is not None and _unit(item.nodeid) == SYSTEM != _unit(nextitem.nodeid):
            stop_system(item.config)


@contextmanager
def _locked(descriptor: int, mode: int) -> Iterator[None]:
    fcntl.flock(descriptor, mode)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
