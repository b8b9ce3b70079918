"""The running system of the tools' tests: as a developer starts it, without a collector of traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port
from tests.support.system import local_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.system import LocalSystem


@pytest.fixture(scope="session")
def system() -> Iterator[LocalSystem]:
    """Run the whole system for the session, seeded; check at the end that Ctrl-C leaves nothing of it."""
    with local_system(AZORA_METRICS_LISTEN=f"127.0.0.1:{free_port()}") as running:
        running.start()
        yield running
        running.stop()
