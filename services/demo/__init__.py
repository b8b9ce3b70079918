"""The demo: a learner's story, played against the running system, once over JSON and once over the typed stubs."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from rich.console import Console

from services.demo.learner import Refused
from services.demo.over_json import JsonLearner
from services.demo.over_stubs import StubLearner
from services.demo.story import BalanceWrong, tell

if TYPE_CHECKING:
    from services.local.public_port import PublicPort


def play(port: PublicPort) -> int:
    """Play the story twice against the system at the public port. Return the exit code."""
    console = Console(highlight=False)
    try:
        asyncio.run(_play(port, console))
    except ConnectionError:
        console.print(f"[bold red]No system is running at {port.url}.[/] Start it first: make run")
        return 1
    except (Refused, BalanceWrong) as error:
        console.print(f"[bold red]Demo failed:[/] {error}")
        return 1
    return 0


async def _play(port: PublicPort, console: Console) -> None:
    run = secrets.token_hex(4)
    async with JsonLearner.connect(port) as learner:
        await tell(learner, f"json-{run}@azora.world", console)
    async with StubLearner.connect(port) as learner:
        await tell(learner, f"stub-{run}@azora.world", console)
