"""The command `azora`. What a command needs is imported when it runs: `serve` needs nothing of the local system."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import timedelta
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from services.cli.output import failed, say
from services.compiler.contract import GATEWAY, load_contract
from services.local.errors import LocalError, NoSuchLog, NotRunning
from services.local.settings import MAX_CERTIFICATE_HOURS, MIN_CERTIFICATE_HOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REPLICAS = 8
"""Of a service: PostgreSQL has connections for so many."""
MAX_INTERVAL_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `azora` and leave with its exit code: 0 when it did what was asked, 1 when it could not, 2 for bad usage."""
    options = _parser().parse_args(arguments)
    try:
        sys.exit(options.run(options))
    except LocalError as error:
        from services.local.report import Report  # noqa: PLC0415

        Report().failure(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="azora", description="Run and operate Azora Mesh.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="run the whole system until Ctrl-C")
    up.add_argument("--no-seed", action="store_true", help="start without the development accounts and courses")
    up.add_argument(
        "--replicas",
        type=_replicas,
        action="append",
        default=[],
        metavar="payment=2,...",
        help="run more than one process of a service; may be repeated",
    )
    up.add_argument(
        "--tcp", action="store_true", help="listen on TCP ports of 127.0.0.1 with mutual TLS, not on unix sockets"
    )
    up.set_defaults(run=_up)

    for name, run, text in (
        ("doctor", _doctor, "check whether this machine can run the system"),
        ("reset", _reset, "delete all data of the stopped system"),
        ("seed", _seed, "seed the running system with development accounts and courses"),
        ("demo", _demo, "run the demo: a learner's journey over JSON and over gRPC"),
    ):
        commands.add_parser(name, help=text).set_defaults(run=run)

    status = commands.add_parser("status", help="show the running system: replicas, health, rates, latencies, circuits")
    status.add_argument(
        "--interval", type=_interval, default=2.0, metavar="SECONDS", help="time over which is measured; default 2"
    )
    status.set_defaults(run=_status)

    policy = commands.add_parser("policy", help="show who may call what, at which rate, with which timeout and retries")
    policy.add_argument("service", nargs="?", default="", choices=("", *load_contract().owners), metavar="SERVICE")
    policy.set_defaults(run=_policy)

    logs = commands.add_parser("logs", help="show the logs of the system's processes in readable form")
    logs.add_argument("process", nargs="*", help="postgres, envoy or a service; all processes unless named")
    logs.add_argument("--follow", "-f", action="store_true", help="go on with new lines until Ctrl-C")
    logs.set_defaults(run=_logs)

    serve = commands.add_parser("serve", help="run one service, with settings from the environment")
    serve.add_argument("service", choices=served())
    serve.set_defaults(run=_serve)

    migrate = commands.add_parser("migrate", help="migrate a service's database to its newest revision")
    migrate.add_argument("service", choices=load_contract().owners)
    migrate.add_argument("--wait", action="store_true", help="only wait until the database is migrated")
    migrate.set_defaults(run=_migrate)

    administrators = commands.add_parser("admin", help="create an administrator account, with Auth's settings")
    making = administrators.add_subparsers(required=True, metavar="create").add_parser("create")
    making.add_argument("--email", required=True)
    making.add_argument("--name", required=True)
    making.set_defaults(run=_create_administrator)

    _add_operations(commands)

    _add_certificates(commands)
    return parser


def _add_certificates(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    certificates = commands.add_parser(
        "pki", help="create or renew the mesh's certificate authority and certificates in a folder"
    )
    certificates.add_argument("folder", type=Path)
    certificates.add_argument(
        "--hours", type=_lifetime, default=None, help="lifetime of certificates in hours; default 2160 (90 days)"
    )
    how = certificates.add_mutually_exclusive_group()
    how.add_argument("--keep", action="store_true", help="go on renewing, with a folder for each identity, until ended")
    how.add_argument("--check", action="store_true", help="only check that each identity's folder has a valid pair")
    certificates.set_defaults(run=_pki)


def _add_operations(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of operators, which work on the databases of the services."""
    about = "dead letters and failed jobs of the service in the environment, or of the running local system"
    events = commands.add_parser("events", help=about, description=about)
    actions = events.add_subparsers(required=True, metavar="list|retry")
    actions.add_parser("list", help="list dead events and failed jobs").set_defaults(run=_list_events)
    retry = actions.add_parser("retry", help="retry dead events and failed jobs")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", dest="ids", action="append", metavar="ID", help="one of those that `list` shows")
    which.add_argument("--all", dest="ids", action="store_const", const=None, help="all of them")
    retry.set_defaults(run=_retry_events)

    about = "verify ledger and audit logs: of the environment's database, of the running local system, or over the API"
    verify = commands.add_parser("verify", help=about, description=about)
    verify.add_argument("--only", choices=("ledger", "audit"), help="verify the ledger or the audit logs alone")
    verify.add_argument("--checkpoints", type=Path, metavar="FILE", help="compare with the checkpoints of this file")
    verify.add_argument(
        "--target", default="", metavar="HOST:PORT", help="verify over the API, with an administrator's access token"
    )
    verify.add_argument("--tls", action="store_true", help="connect to the target with TLS")
    verify.set_defaults(run=_verify)

    about = "signing keys of access tokens, with Auth's settings or those of the running local system"
    keys = commands.add_parser("keys", help=about, description=about)
    actions = keys.add_subparsers(required=True, metavar="list|rotate|revoke")
    actions.add_parser("list", help="list all keys").set_defaults(run=_list_keys)
    rotating = actions.add_parser("rotate", help="replace the active key once every cache holds the next one")
    rotating.set_defaults(run=_rotate_key)
    revoke = actions.add_parser("revoke", help="revoke a leaked key and all access tokens that it signed, at once")
    revoke.add_argument("key_id", metavar="KID")
    revoke.set_defaults(run=_revoke_key)

    about = "failed webhook deliveries of Payment in the environment, or of the running local system"
    webhooks = commands.add_parser("webhooks", help=about, description=about)
    actions = webhooks.add_subparsers(required=True, metavar="list|redeliver")
    actions.add_parser("list", help="list failed deliveries").set_defaults(run=_list_deliveries)
    redeliver = actions.add_parser("redeliver", help="send failed deliveries again")
    which = redeliver.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", dest="ids", action="append", metavar="ID", help="one of those that `list` shows")
    which.add_argument("--all", dest="ids", action="store_const", const=None, help="all of them")
    redeliver.set_defaults(run=_redeliver)


def served() -> tuple[str, ...]:
    """Return the names of what `azora serve` runs: the services of the contract, and the gateway."""
    return (*load_contract().owners, GATEWAY)


def _replicas(text: str) -> dict[str, int]:
    """Read "payment=2,auth=3"."""
    replicas = {}
    for entry in text.split(","):
        name, _, count = entry.partition("=")
        if name not in served() or not count.isdecimal() or not 1 <= int(count) <= MAX_REPLICAS:
            raise argparse.ArgumentTypeError(
                f"{entry!r} is not NAME=COUNT with one of {', '.join(served())} and a number from 1 to {MAX_REPLICAS}"
            )
        replicas[name] = int(count)
    return replicas


def _up(options: argparse.Namespace) -> int:
    from services.local.report import Report  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415
    from services.local.up import up  # noqa: PLC0415

    replicas = {name: count for counts in options.replicas for name, count in counts.items()}
    up(read_settings(), Report(), seeded=not options.no_seed, replicas=replicas, tcp=options.tcp)
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from services.local.doctor import examine  # noqa: PLC0415
    from services.local.report import Report  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    return 0 if Report().findings(examine(read_settings())) else 1


def _reset(_: argparse.Namespace) -> int:
    from services.local.report import Report  # noqa: PLC0415
    from services.local.reset import reset  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    settings = read_settings()
    reset(settings)
    Report().say(f"wiped {settings.home}")
    return 0


def _logs(options: argparse.Namespace) -> int:
    from services.local.layout import Layout  # noqa: PLC0415
    from services.local.logs import show  # noqa: PLC0415
    from services.local.report import Report  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    home = read_settings().home
    existing = {log.stem: log for log in sorted(Layout(home, home).logs.glob("*.log"))}
    unknown = [name for name in options.process if name not in existing]
    if unknown or not existing:
        raise NoSuchLog(names=", ".join(unknown) or "any process", folder=Layout(home, home).logs)
    show([existing[name] for name in options.process or existing], Report().line, follow=options.follow)
    return 0


def _interval(text: str) -> float:
    """Read a number of seconds, at most a minute."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= MAX_INTERVAL_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds up to {MAX_INTERVAL_SECONDS}")
    return seconds


def _status(options: argparse.Namespace) -> int:
    from services.cli.status import show_status  # noqa: PLC0415

    return show_status(interval_seconds=options.interval)


def _policy(options: argparse.Namespace) -> int:
    from services.cli.policy import show_policy  # noqa: PLC0415

    return show_policy(options.service)


def _seed(_: argparse.Namespace) -> int:
    from services.demo.seed import seed  # noqa: PLC0415
    from services.local.layout import lock_path  # noqa: PLC0415
    from services.local.orphans import is_running  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415
    from services.local.up import describe  # noqa: PLC0415

    settings = read_settings()
    if not is_running(lock_path(settings.home)):
        raise NotRunning(home=settings.home)
    asyncio.run(seed(describe(settings)))
    return 0


def _demo(_: argparse.Namespace) -> int:
    from services.demo import play  # noqa: PLC0415
    from services.local.settings import read_settings  # noqa: PLC0415

    return play(read_settings().public_port)


def _serve(options: argparse.Namespace) -> NoReturn:
    _become(options.service)


def _migrate(options: argparse.Namespace) -> NoReturn:
    _become(options.service, "migrated" if options.wait else "migrate")


def _become(service: str, *arguments: str) -> NoReturn:
    """Become the service's own process: signals and exit codes are its own."""
    os.execv(sys.executable, [sys.executable, "-m", f"services.{service}", *arguments])  # noqa: S606 - from a fixed list


def _create_administrator(options: argparse.Namespace) -> int:
    """Ask for the password, or read it from standard input where nobody can be asked: never from the arguments."""
    from services.auth.admin import create_administrator  # noqa: PLC0415
    from services.auth.settings import AuthSettings  # noqa: PLC0415
    from services.shared.errors import DomainError  # noqa: PLC0415
    from services.shared.settings import SettingsError, load  # noqa: PLC0415

    password = getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        making = create_administrator(load(AuthSettings), email=options.email, password=password, name=options.name)
        sys.stdout.write(f"{asyncio.run(making)}\n")
    except SettingsError as error:
        sys.exit(f"azora admin create: {error}")
    except DomainError as error:
        fields = "".join(f"\n  {violation.field}: {violation.description}" for violation in error.violations)
        sys.exit(f"azora admin create: {error}{fields}")
    return 0


def _list_events(_: argparse.Namespace) -> int:
    from services.cli.events import list_events  # noqa: PLC0415

    return list_events()


def _retry_events(options: argparse.Namespace) -> int:
    from services.cli.events import retry_events  # noqa: PLC0415

    return retry_events(options.ids)


def _verify(options: argparse.Namespace) -> int:
    from services.cli.verify import verify  # noqa: PLC0415

    return verify(only=options.only, checkpoints=options.checkpoints, target=options.target, tls=options.tls)


def _list_keys(_: argparse.Namespace) -> int:
    from services.cli.keys import list_keys  # noqa: PLC0415

    return list_keys()


def _rotate_key(_: argparse.Namespace) -> int:
    from services.cli.keys import rotate_key  # noqa: PLC0415

    return rotate_key()


def _revoke_key(options: argparse.Namespace) -> int:
    from services.cli.keys import revoke_key  # noqa: PLC0415

    return revoke_key(options.key_id)


def _list_deliveries(_: argparse.Namespace) -> int:
    from services.cli.webhooks import list_deliveries  # noqa: PLC0415

    return list_deliveries()


def _redeliver(options: argparse.Namespace) -> int:
    from services.cli.webhooks import redeliver  # noqa: PLC0415

    return redeliver(options.ids)


def _lifetime(text: str) -> timedelta:
    """Read a number of hours."""
    try:
        hours = float(text)
    except ValueError:
        hours = 0
    if not MIN_CERTIFICATE_HOURS <= hours <= MAX_CERTIFICATE_HOURS:
        bounds = f"from {MIN_CERTIFICATE_HOURS} to {MAX_CERTIFICATE_HOURS}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours {bounds}")
    return timedelta(hours=hours)


def _pki(options: argparse.Namespace) -> int:
    from services.deployment.certificates import are_published, keep_certificates, publish_identities  # noqa: PLC0415
    from services.deployment.pki import CERTIFICATE_LIFE, ensure_pki  # noqa: PLC0415

    if options.check:
        return 0 if are_published(options.folder) else failed("pki", "not every identity has a valid certificate")
    lifetime = options.hours or CERTIFICATE_LIFE
    renewed = ensure_pki(options.folder, lifetime=lifetime)
    say(f"{options.folder}: {'new ' + ', '.join(renewed) if renewed else 'all certificates are valid'}")
    if options.keep:
        publish_identities(options.folder)
        asyncio.run(keep_certificates(options.folder, lifetime, say))
    return 0


if __name__ == "__main__":
    main()
