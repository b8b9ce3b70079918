"""Tests side by side: those that share something started run in one worker, and those that measure time run alone."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

SHARED = ("system", "edge", "composed", "kept_system", "fresh_system")
"""Fixtures that take long to start; tests with those that take longest begin first."""
UNSHARED = "fresh_system"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and take turns in the workers."""
    config.addinivalue_line("markers", "alone: nothing else runs beside this test, because it measures time.")
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Turns())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests for `--dist loadgroup`: those of a fixture, or those of a file."""
    for item in items:
        shared = _shared(item)
        if shared != UNSHARED:
            item.add_marker(pytest.mark.xdist_group(shared or f"{item.path.parent.name}/{item.path.stem}"))
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (*SHARED, "").index(_shared(item)))


def _shared(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    return next((name for name in SHARED if name in fixtures), "")


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


@contextmanager
def _locked(descriptor: int, mode: int) -> Iterator[None]:
    fcntl.flock(descriptor, mode)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
