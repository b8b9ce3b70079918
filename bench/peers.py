"""The peers, each in processes of its own: echoes bare and behind the chain, the chain's behind Envoy, and FastAPI."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import jwt
import psutil

from bench import client
from bench.client import Request
from bench.errors import WrongAnswer
from bench.orm_rows import copy_rows
from bench.processes import child, until
from services.compiler.envoy import LocalSettings, Pipe, discovery_files, local, write_bootstrap
from services.local.envoy import installed_envoy
from tests.support.ports import free_port
from tests.support.serving import ISSUER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from bench.system import System

SCALE = 100_000.0


@dataclass(frozen=True, slots=True)
class Peer:
    """Something that answers beside the system."""

    target: str
    processes: tuple[psutil.Process, ...]
    token: str = ""
    """A token that it takes, for as long as it runs."""
    secret: str = ""
    """The key of its tokens, where anyone can be signed in."""

    @property
    def bearer(self) -> Mapping[str, str]:
        """Return the headers of who is signed in."""
        return {"authorization": f"Bearer {self.token}"}

    def bearer_of(self, user_id: str) -> Mapping[str, str]:
        """Return the headers of a user who is signed in."""
        return {"authorization": f"Bearer {token(user_id, self.secret)}"}


@asynccontextmanager
async def echo(folder: Path, answers: Mapping[str, bytes], *, chained: bool) -> AsyncIterator[Peer]:
    """Serve these messages by RPC path over gRPC at a unix socket, bare or behind the chain of interceptors."""
    name = "chained" if chained else "bare"
    socket, file = folder / f"{name}.sock", folder / f"{name}.json"
    file.write_text(json.dumps({path: message.hex() for path, message in answers.items()}))
    arguments = (sys.executable, "-m", "bench.echo", socket, file, *(("--chain",) if chained else ()))
    async with child(*arguments, log=folder / f"{name}.log") as process:
        token = socket.with_suffix(".token")
        await until(process, lambda: asyncio.to_thread(token.exists), folder / f"{name}.log")
        yield Peer(f"unix:{socket}", (psutil.Process(process.pid),), token.read_text())


@asynccontextmanager
async def echo_behind_envoy(folder: Path, system: System, behind: Peer, probe: str) -> AsyncIterator[Peer]:
    """Put before an echo the Envoy that the contract compiles to: the system's own, but for who stands behind it."""
    port = free_port()
    profile = local(
        LocalSettings(runtime=folder, pki=system.home / "pki", port=port, rate_limit_scale=SCALE, public_url=ISSUER)
    )
    echo_socket = Pipe(behind.target.removeprefix("unix:"))
    profile = replace(profile, upstreams=dict.fromkeys(profile.upstreams, (echo_socket,)))
    write_bootstrap(profile, folder / "envoy.json")
    discovery = folder / "discovery"
    discovery.mkdir(exist_ok=True)
    for file, text in discovery_files(profile).items():
        (discovery / file).write_text(text)
    arguments = ("--config-path", folder / "envoy.json", "--log-level", "warning", "--disable-hot-restart")
    async with child(installed_envoy(), *arguments, log=folder / "envoy.log") as process:
        edge = f"http://127.0.0.1:{port}"
        await until(process, lambda: _answers(Request(edge, probe)), folder / "envoy.log")
        yield Peer(edge, (psutil.Process(process.pid), *behind.processes), behind.token)


@asynccontextmanager
async def fastapi_peer(
    folder: Path, system: System, user_id: str, *, database: str = "bench_peer"
) -> AsyncIterator[Peer]:
    """Serve the system's rows, copied into a database of the peer's on the same PostgreSQL, by FastAPI and the ORM."""
    url = await copy_rows(system, database)
    async with _uvicorn(folder, "orm_peer", url, "/courses", pool_size=20) as (edge, process, secret):
        yield Peer(edge, (process, system.postgres()), token(user_id, secret), secret)


@asynccontextmanager
async def fastapi_payments(folder: Path, system: System, url: str) -> AsyncIterator[Peer]:
    """Serve payments from Payment's own database by FastAPI and the ORM."""
    async with _uvicorn(folder, "orm_payments", url, "/ready", pool_size=64) as (edge, process, secret):
        yield Peer(edge, (process, system.postgres()), secret=secret)


@asynccontextmanager
async def _uvicorn(
    folder: Path, module: str, url: str, probe: str, *, pool_size: int
) -> AsyncIterator[tuple[str, psutil.Process, str]]:
    """Run an application on a database; give its address, its process, and the key of its tokens."""
    port, secret = free_port(), secrets.token_hex(32)
    environment = os.environ | {"PEER_DATABASE_URL": url, "PEER_SECRET_KEY": secret, "PEER_POOL_SIZE": str(pool_size)}
    options = (
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "warning",
    )
    arguments = (sys.executable, "-m", "uvicorn", f"bench.{module}:app", *options)
    log = folder / f"{module}.log"
    async with child(*arguments, log=log, environment=environment) as process:
        edge = f"http://127.0.0.1:{port}"
        await until(process, lambda: _answers(Request(edge, probe)), log)
        yield edge, psutil.Process(process.pid), secret


def token(user_id: str, secret: str) -> str:
    """Return a token as FastAPI's tutorial signs it."""
    expires = datetime.now(UTC) + timedelta(hours=2)
    return jwt.encode({"sub": user_id, "exp": expires}, secret, algorithm="HS256")


async def _answers(request: Request) -> bool:
    try:
        await client.call(request)
    except (OSError, WrongAnswer, asyncio.IncompleteReadError):
        return False
    return True
