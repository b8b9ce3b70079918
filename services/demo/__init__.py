"""The demo: a learner's story, played against the running system, once over JSON and once over the typed stubs."""

from __future__ import annotations

import asyncio
import secrets

from rich.console import Console

from services.demo.learner import Refused
from services.demo.over_json import JsonLearner
from services.demo.over_stubs import StubLearner
from services.demo.story import BalanceWrong, tell


def play(edge: str) -> int:
    """Play the story twice against the system at `edge` ("http://127.0.0.1:8080"). Return the exit code."""
    console = Console(highlight=False)
    try:
        asyncio.run(_play(edge, console))
    except ConnectionError:
        console.print(f"[bold red]No system is running at {edge}.[/] Start it first: make run")
        return 1
    except (Refused, BalanceWrong) as error:
        console.print(f"[bold red]Demo failed:[/] {error}")
        return 1
    return 0


async def _play(edge: str, console: Console) -> None:
    run = secrets.token_hex(4)
    async with JsonLearner.connect(edge) as learner:
        await tell(learner, f"json-{run}@azora.world", console)
    async with StubLearner.connect(edge.removeprefix("http://")) as learner:
        await tell(learner, f"stub-{run}@azora.world", console)
