"""A started system with one process of each service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port
from tests.support.system import UNTRACED, local_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.system import LocalSystem


@pytest.fixture(scope="package")
def single() -> Iterator[LocalSystem]:
    """Run a system in which it costs as much to check a password as that it, and nothing else, bounds sign-ins."""
    settings = {
        "AZORA_BCRYPT_COST": "10",
        "AZORA_ERASURE_DELAY_SECONDS": "1",
        "AZORA_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        **UNTRACED,
    }
    with local_system(**settings) as system:
        system.start()
        yield system
        system.stop()
