"""`azora up`: the whole system from one command, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.deployment import pki
from services.local import doctor, postgres
from services.local.layout import lock_path, make_home, make_layout, register_path
from services.local.leftovers import Register, end_leftovers, run_lock
from services.local.probes import wait_until_healthy
from services.local.processes import run_step
from services.local.settings import runtime_candidates
from services.local.supervisor import Supervisor
from services.local.system import SERVICES, System

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from services.local.report import Report
    from services.local.settings import SystemSettings

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(settings: SystemSettings, report: Report, *, seeded: bool, replicas: Mapping[str, int]) -> None:
    """Run the system until a signal ends it. Raises LocalError, with nothing left running, when it cannot go on."""
    doctor.check_machine(settings)
    make_home(settings.home)
    with run_lock(lock_path(settings.home)):
        for part in end_leftovers(register_path(settings.home)):
            report.say(f"ended {part}, which a killed run had left behind")
        doctor.check_port(settings.port)
        system = describe(settings, replicas)
        system.layout.set_logs_aside()
        try:
            asyncio.run(_live(system, report, seeded=seeded))
        except asyncio.CancelledError:
            report.say("stopped; the data is kept")
        finally:
            system.remove_sockets()


def describe(settings: SystemSettings, replicas: Mapping[str, int] | None = None) -> System:
    """Return the system at the home of the settings, which may run."""
    layout = make_layout(settings.home, runtime_candidates())
    return System(settings, layout, postgres.locate(settings.home), replicas or {})


async def _live(system: System, report: Report, *, seeded: bool) -> None:
    """Start everything and keep it running; stop it in order when cancelled, or when a part fails for good."""
    task = asyncio.current_task()
    supervisor = Supervisor(Register(register_path(system.layout.home)), report.say)
    with _on_signals(task.cancel if task else supervisor.kill, supervisor.kill):
        try:
            async with asyncio.TaskGroup() as keepers:
                begun = time.monotonic()
                async for step in _start(system, supervisor, keepers, seeded=seeded):
                    report.say(step)
                report.welcome(system, seconds=time.monotonic() - begun, seeded=seeded)
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            report.say("stopping: Envoy first, PostgreSQL last; a second Ctrl-C ends all at once")
            await supervisor.stop()


async def _start(
    system: System, supervisor: Supervisor, keepers: asyncio.TaskGroup, *, seeded: bool
) -> AsyncIterator[str]:
    """Start the stages one after another, and say each before it begins."""
    cluster = system.cluster
    reason = (
        "" if cluster.folder.parent == system.layout.home else f", as {cluster.account.name} may not enter the home"
    )
    yield f"starting PostgreSQL, with its data in {cluster.folder}{reason}"
    pki.ensure_pki(system.layout.pki)
    await cluster.initialise(system.layout.log("initdb"))
    await supervisor.start([system.postgres()], keepers)
    await cluster.provision(SERVICES)
    unmigrated = await system.unmigrated()
    if unmigrated:
        yield f"migrating {', '.join(unmigrated)}"
    async with asyncio.TaskGroup() as steps:
        for service in unmigrated:
            steps.create_task(run_step(f"Migrating {service}", system.migration(service)))
    # What seeds need comes up first, /health last: a system that says it is healthy has its accounts and courses.
    seeding = seeded and not system.layout.seeded.exists()
    services, gateway = system.services(), system.gateway()
    first = services if seeding else services + gateway
    yield f"starting {', '.join(plan.name for plan in first)}"
    await supervisor.start(first, keepers)
    yield "starting Envoy"
    await supervisor.start([system.envoy()], keepers)
    if seeding:
        yield "seeding"
        await run_step("Seeding", system.seeding())
        yield f"starting {', '.join(plan.name for plan in gateway)}"
        await supervisor.start(gateway, keepers)
    await wait_until_healthy(system.settings.edge, system.layout)


@contextmanager
def _on_signals(first: Callable[[], object], others: Callable[[], object]) -> Iterator[None]:
    """Call `first` at the first signal that asks to stop, and `others` at each one after it."""
    loop = asyncio.get_running_loop()
    reactions = iter((first,))

    def react() -> None:
        next(reactions, others)()

    for number in STOPPING_SIGNALS:
        loop.add_signal_handler(number, react)
    try:
        yield
    finally:
        for number in STOPPING_SIGNALS:
            loop.remove_signal_handler(number)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first failure of the group: when one part has failed, the rest is its consequence."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
