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
    from services.cli.output import Output
    from services.local.public_port import PublicPort


def play(port: PublicPort, out: Output) -> int:
    """Play the story twice against the system at the public port. Return the exit code.

    JSON is an object for each story: {"over", "email", "completed", "bought", "refundedMinor", "balanceMinor"}.
    """
    try:
        asyncio.run(_play(port, out))
    except ConnectionError:
        return out.failed("demo", f"no system is running at {port.url}: start it with `make run`")
    except (Refused, BalanceWrong) as error:
        return out.failed("demo", error)
    return 0


async def _play(port: PublicPort, out: Output) -> None:
    run, console = secrets.token_hex(4), Console(highlight=False, quiet=out.as_json)
    async with JsonLearner.connect(port) as json, StubLearner.connect(port) as stub:
        for learner, name in ((json, "json"), (stub, "stub")):
            told = await tell(learner, f"{name}-{run}@azora.world", console)
            if out.as_json:
                out.json(told)
