"""Sign-in: its rate beside bare bcrypt's, what it does to other calls, refusals, and a repeated token.

`python -m bench.sign_in` measures it alone. Each round has, one after another: other calls alone, the same while 16
logins are in flight, logins alone, and bare bcrypt in a process of its own, so that every ratio is of one moment and of
the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import auth_service_pb2
from grpc import StatusCode, aio

from bench import client
from bench.client import Request
from bench.compare import Result
from bench.errors import WrongAnswer
from bench.processes import cpu_seconds, real_time_priority, run
from bench.repeated_token import repeated_token_microseconds
from bench.report import print_report
from bench.statistics import Round, cpu_ratio, median_of, throughput_ratio
from bench.system import STUDENT, People, running_system
from tests.support.waiting import paced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.system import System

LOGINS = 16
"""Logins in flight."""
CALLS_PER_SECOND = 100
"""Of the other calls, at a constant rate: a closed loop would take the CPU that is to be shared."""
BURST = 100
"""Logins at once: more than can be done in time."""
REFUSED_PER_SECOND = 50
"""Of the logins after them, while the queue is full."""
QUEUE_SECONDS = 1.0
"""Time until the burst has its places in the queue."""
LOGIN = "/azora.auth.v1.AuthService/Login"
SIGN_IN = auth_service_pb2.LoginRequest(**STUDENT).SerializeToString()
RETRY_SECONDS = 0.5
GET_CONFIGURATION = "/azora.auth.v1.TokenService/GetOpenIdConfiguration"
OURS, BCRYPT = "azora login", "bare bcrypt"
ALONE, MEANWHILE = "alone", f"with {LOGINS} logins in flight"
REFUSALS = "refused logins"
AT_ONCE, LATER = f"{BURST} at once", "while the queue is full"
SOCKET_CALL, EDGE_CALL = "RPC at Auth's socket", "own profile, edge"
SPARE_SECONDS = 30


@dataclass(slots=True)
class SignIns:
    """The rounds that were measured, by what was called and by whom it was answered."""

    rounds: dict[str, dict[str, list[Round]]] = field(default_factory=dict)
    repeated_token_microseconds: float = 0.0

    def add(self, call: str, subject: str, measured: Round) -> None:
        """Add a round."""
        self.rounds.setdefault(call, {}).setdefault(subject, []).append(measured)

    def results(self) -> list[Result]:
        """Return what was measured beside what is to be reached."""
        logins, refusals = self.rounds["login"], self.rounds["login, refused"]
        ours, theirs = logins[OURS], logins[BCRYPT]
        meanwhile = {call: self.rounds[call][MEANWHILE] for call in (SOCKET_CALL, EDGE_CALL)}
        return [
            Result(f"login: over {BCRYPT}", throughput_ratio(ours, theirs), "x", 0.85, 0.95, cpu_ratio(ours, theirs)),
            Result(f"{SOCKET_CALL}, p99 {MEANWHILE}", _p99(meanwhile[SOCKET_CALL]), "ms", 10, 10),
            Result(f"{EDGE_CALL}, p99 {MEANWHILE}", _p99(meanwhile[EDGE_CALL]), "ms"),
            Result(f"{REFUSALS} while the queue is full, p99", _p99(refusals[LATER]), "ms", 50, 50),
            Result(f"{REFUSALS}, p99 of {BURST} at once", _p99(refusals[AT_ONCE]), "ms"),
            Result("a repeated token, CPU of an RPC", self.repeated_token_microseconds, "us", 10, 10),
        ]


async def measure(system: System, people: People, *, rounds: int, seconds: float) -> SignIns:
    """Measure everything. Raises WrongAnswer."""
    measured = SignIns(repeated_token_microseconds=await repeated_token_microseconds())
    socket = system.socket("auth")
    others = {
        SOCKET_CALL: (Request(socket, GET_CONFIGURATION, body=b"", grpc=True), system.behind_socket("auth")),
        EDGE_CALL: (Request(system.edge, "/v1/auth/profile", people.student), system.behind_edge("auth")),
    }
    behind = system.behind_socket("auth")
    await _logins(socket, seconds)
    for _ in range(rounds):
        for call, (request, processes) in others.items():
            used = cpu_seconds(processes)
            latencies = await call_steadily(request, seconds)
            measured.add(call, ALONE, Round(len(latencies), seconds, cpu_seconds(processes) - used, latencies))
        for call, (request, _) in others.items():
            _, latencies = await asyncio.gather(_logins(socket, seconds), call_steadily(request, seconds))
            measured.add(call, MEANWHILE, Round(len(latencies), seconds, 0.0, latencies))
        used = cpu_seconds(behind)
        signed_in = await _logins(socket, seconds)
        measured.add("login", OURS, replace(signed_in, cpu_seconds=cpu_seconds(behind) - used))
        measured.add("login", BCRYPT, await _bare_bcrypt(seconds))
        for subject, refused in (await _refused(socket, seconds)).items():
            measured.add("login, refused", subject, refused)
    return measured


async def call_steadily(request: Request, seconds: float) -> list[float]:
    """Send the request at a constant rate, as if from another machine; return the latencies. Raises WrongAnswer."""
    latencies: list[float] = []

    async def one(send: Callable[[], Awaitable[bytes]]) -> None:
        sent = time.perf_counter()
        await send()
        latencies.append(time.perf_counter() - sent)

    async with client.sender(request) as send, asyncio.TaskGroup() as calls:
        await send()
        with real_time_priority():
            async for _ in paced(CALLS_PER_SECOND, seconds):
                if request.grpc:
                    calls.create_task(one(send))
                else:
                    await one(send)  # A connection of HTTP/1.1 has one request at a time.
    return latencies


async def _logins(socket: str, seconds: float) -> Round:
    """Keep 16 logins in flight; whoever is refused comes again a little later. CPU time is not measured."""
    taken: list[float] = []
    begun = time.perf_counter()

    async def sign_in(login: Any) -> None:
        while (started := time.perf_counter()) < begun + seconds:
            if await _outcome(login) is StatusCode.OK:
                taken.append(time.perf_counter() - started)
            else:
                await asyncio.sleep(RETRY_SECONDS)

    async with aio.insecure_channel(socket) as channel, asyncio.TaskGroup() as people:
        for _ in range(LOGINS):
            people.create_task(sign_in(channel.unary_unary(LOGIN)))
    return Round(len(taken), time.perf_counter() - begun, 0.0, taken)


async def _outcome(login: Any) -> StatusCode:
    """Sign in; return how that ended. Raises WrongAnswer for a failure other than a want of time."""
    try:
        await login(SIGN_IN, timeout=SPARE_SECONDS)
    except aio.AioRpcError as error:
        if error.code() not in (StatusCode.RESOURCE_EXHAUSTED, StatusCode.DEADLINE_EXCEEDED):
            raise WrongAnswer(f"a login failed with {error.code().name}: {error.details()}") from None
        return error.code()
    return StatusCode.OK


async def _refused(socket: str, seconds: float) -> dict[str, Round]:
    """Send more logins at once than can be done in time, and then some at a constant rate; return the refusals."""
    at_once: list[float] = []
    later: list[float] = []

    async def sign_in(login: Any, refused: list[float]) -> None:
        begun = time.perf_counter()
        if await _outcome(login) is StatusCode.RESOURCE_EXHAUSTED:
            refused.append(time.perf_counter() - begun)

    async with aio.insecure_channel(socket) as channel, asyncio.TaskGroup() as people:
        await channel.channel_ready()
        for _ in range(BURST):
            people.create_task(sign_in(channel.unary_unary(LOGIN), at_once))
        await asyncio.sleep(QUEUE_SECONDS)
        async for _ in paced(REFUSED_PER_SECOND, seconds):
            people.create_task(sign_in(channel.unary_unary(LOGIN), later))
    if not at_once or not later:
        raise WrongAnswer(f"none of {BURST} logins at once, or of those after them, was refused")
    return {
        AT_ONCE: Round(len(at_once), max(at_once), 0.0, at_once),  # Until the last of them.
        LATER: Round(len(later), seconds, 0.0, later),
    }


async def _bare_bcrypt(seconds: float) -> Round:
    arguments = ("-m", "bench.bare_bcrypt", f"{seconds}")
    said = json.loads(await run(sys.executable, *arguments, seconds=seconds + SPARE_SECONDS))
    return Round(len(said["latencies"]), said["elapsed"], said["cpu"], said["latencies"])


def _p99(rounds: list[Round]) -> float:
    return median_of(rounds, lambda each: each.percentile_ms(99))


async def _run(*, rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="azb") as name:
        await asyncio.to_thread(Path(name).chmod, 0o711)  # Root's PostgreSQL runs as another user.
        async with running_system(Path(name) / "home") as system, People.signed_in(system.edge) as people:
            measured = await measure(system, people, rounds=rounds, seconds=seconds)
    print_report(measured.results(), measured.rounds, f"{rounds} rounds of {seconds:g} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m bench.sign_in", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8)
    asyncio.run(_run(**vars(parser.parse_args())))
