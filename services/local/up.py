"""`azora up`: the whole system from one command, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from services.compiler.contract import load_contract
from services.deployment import pki
from services.deployment.certificates import keep_certificates, publish_identities
from services.local import doctor, postgres
from services.local.addresses import Addresses, choose_ports
from services.local.health import watch_health
from services.local.layout import lock_path, make_home, make_layout, register_path
from services.local.logs import keep_bounded
from services.local.orphans import Register, run_lock, stop_orphans
from services.local.probes import wait_until_healthy
from services.local.processes import run_step
from services.local.settings import runtime_candidates
from services.local.supervisor import Stage, Supervisor
from services.local.system import System, listeners

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from services.local.report import Report
    from services.local.settings import SystemSettings

STOPPING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(settings: SystemSettings, report: Report, *, seeded: bool, replicas: Mapping[str, int], tcp: bool) -> None:
    """Run the system until a signal ends it. Raises LocalError, with nothing left running, when it cannot go on."""
    doctor.check_machine(settings)
    make_home(settings.home)
    with run_lock(lock_path(settings.home)):
        for name in stop_orphans(register_path(settings.home)):
            report.say(f"stopped orphaned process {name} from an earlier run")
        doctor.check_port(settings.port)
        system = describe(settings, replicas, tcp=tcp)
        system.layout.set_logs_aside()
        try:
            asyncio.run(_live(system, report, seeded=seeded))
        except asyncio.CancelledError:
            report.say("stopped; the data is kept")
        finally:
            system.remove_sockets()


def describe(settings: SystemSettings, replicas: Mapping[str, int] | None = None, *, tcp: bool = False) -> System:
    """Return the system at the home of the settings, which may run; with `tcp`, on ports chosen now."""
    layout, cluster = make_layout(settings.home, runtime_candidates()), postgres.locate(settings.home)
    names = listeners(load_contract().owners, replicas or {}) if tcp else ()
    return System(settings, Addresses(layout, choose_ports(settings.home, names)), cluster, replicas or {})


async def _live(system: System, report: Report, *, seeded: bool) -> None:
    """Start everything and keep it running; stop it in order when cancelled, or when a process fails for good."""
    task = asyncio.current_task()
    supervisor = Supervisor(Register(register_path(system.layout.home), report.say), report.say)
    with _on_signals(task.cancel if task else supervisor.kill, supervisor.kill):
        try:
            async with asyncio.TaskGroup() as watchers:
                lifetime = system.settings.certificate_lifetime
                pki.ensure_pki(system.layout.pki, lifetime=lifetime)
                publish_identities(system.layout.pki)
                watchers.create_task(keep_certificates(system.layout.pki, lifetime, report.say))
                watchers.create_task(keep_bounded(system.layout.logs))
                begun = time.monotonic()
                async for step in _start(system, supervisor, watchers, seeded=seeded):
                    report.say(step)
                supervisor.changed = partial(_publish, system, supervisor, report.say)
                report.welcome(system, seconds=time.monotonic() - begun, seeded=seeded)
                watchers.create_task(watch_health(system, supervisor, report.say))
        except BaseExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            report.say("stopping: Envoy first, PostgreSQL last; a second Ctrl-C kills everything")
            await supervisor.stop()


async def _start(
    system: System, supervisor: Supervisor, watchers: asyncio.TaskGroup, *, seeded: bool
) -> AsyncIterator[str]:
    """Start everything, giving each step before it begins."""
    if system.is_migrated and (system.layout.seeded.exists() or not seeded):
        yield "starting PostgreSQL, services, gateway and Envoy"
        await system.cluster.initialise(system.layout.log("initdb"))
        async with asyncio.TaskGroup() as starts:
            # Services import for longer than PostgreSQL takes to start, and ask it again until it answers.
            starts.create_task(supervisor.start(Stage.DATABASE, [system.postgres()], watchers))
            starts.create_task(supervisor.start(Stage.GATEWAY, system.gateway(), watchers))
            starts.create_task(supervisor.start(Stage.SERVICES, system.services(), watchers))
            starts.create_task(supervisor.start(Stage.EDGE, [system.envoy()], watchers))
    else:
        async for step in _start_afresh(system, supervisor, watchers, seeding=seeded):
            yield step
    await wait_until_healthy(system.settings.public_port, system.layout)


async def _start_afresh(
    system: System, supervisor: Supervisor, watchers: asyncio.TaskGroup, *, seeding: bool
) -> AsyncIterator[str]:
    """Create or migrate the databases, and seed, before what needs them starts."""
    cluster = system.cluster
    elsewhere = cluster.folder.parent != system.layout.home
    reason = f" ({cluster.account.name} cannot enter {system.layout.home})" if elsewhere else ""
    yield f"starting PostgreSQL, data in {cluster.folder}{reason}"
    await cluster.initialise(system.layout.log("initdb"))
    await supervisor.start(Stage.DATABASE, [system.postgres()], watchers)
    await cluster.provision(system.names)
    unmigrated = await system.unmigrated()
    if unmigrated:
        yield f"migrating {', '.join(unmigrated)}"
    async with asyncio.TaskGroup() as steps:
        for service in unmigrated:
            steps.create_task(run_step(f"Migrating {service}", system.migration(service)))
    system.mark_migrated()
    yield "starting services"
    await supervisor.start(Stage.SERVICES, system.services(), watchers)
    yield "starting Envoy"
    await supervisor.start(Stage.EDGE, [system.envoy()], watchers)
    if seeding and not system.layout.seeded.exists():
        yield "seeding"
        await run_step("Seeding", system.seeding())
    # Last, as /health is the gateway's: a system that says it is healthy has its accounts and courses.
    yield "starting the gateway"
    await supervisor.start(Stage.GATEWAY, system.gateway(), watchers)


def _publish(system: System, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Tell Envoy which replicas are live; where that fails, its health checks still find out."""
    try:
        system.publish(supervisor.live)
    except OSError as error:
        say(f"cannot tell Envoy which replicas are live ({error.strerror})")


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
    """Return the first failure of the group: when one process has failed, the rest is its consequence."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure
