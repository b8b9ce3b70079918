"""The system under measurement: started as `make run` does, on a port and in a home of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import psutil

from bench.errors import BenchmarkError
from bench.processes import child, until
from services.auth.container import Container
from services.auth.settings import AuthSettings
from services.shared.ids import new_id
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


NO_LIMITS = "100000"
"""AZORA_RATE_LIMIT_SCALE: rate limits are not what is measured."""
STUDENT = {"email": "student@azora.world", "password": "Student@2024!"}
ADMIN = {"email": "admin@azora.world", "password": "Admin@2024!"}


@dataclass(frozen=True, slots=True)
class System:
    """A running system, as seen from outside: its processes, found by what they run, and their environment."""

    edge: str
    home: Path
    start_seconds: float
    """From the command to a healthy answer."""
    process: psutil.Process
    """`azora up`."""

    def service(self, name: str) -> psutil.Process:
        """Return the process of a service."""
        return self._find(f"services.{name}")

    def envoy(self) -> psutil.Process:
        """Return Envoy's process."""
        return self._find("--config-path")

    def postgres(self) -> psutil.Process:
        """Return the process above all of PostgreSQL's."""
        return self._find("-cport=5432")

    def behind_edge(self, service: str) -> tuple[psutil.Process, ...]:
        """Return all processes that answer a call to a service through the edge."""
        return (self.envoy(), *self.behind_socket(service))

    def behind_socket(self, service: str) -> tuple[psutil.Process, ...]:
        """Return all processes that answer a call at a service's own socket."""
        return (self.service(service), self.postgres())

    def socket(self, service: str) -> str:
        """Return the target at which a service listens."""
        return self.service(service).environ()["AZORA_LISTEN"]

    def database_url(self, database: str) -> str:
        """Return the superuser's URL of a database, which may not exist yet."""
        url = self.service("education").environ()["AZORA_DATABASE_URL"]
        return url.replace("education_app@/education?", f"postgres@/{database}?")

    @asynccontextmanager
    async def connection(self, database: str) -> AsyncIterator[asyncpg.Connection]:
        """Give a connection of the superuser's."""
        connection = await asyncpg.connect(self.database_url(database).replace("+asyncpg", ""))
        try:
            yield connection
        finally:
            await connection.close()

    def _find(self, argument: str) -> psutil.Process:
        return next(process for process in self.process.children() if argument in process.cmdline())


@asynccontextmanager
async def running_system(home: Path) -> AsyncIterator[System]:
    """Start the system at `home`; stop it in the end. Raises DidNotStart."""
    port = free_port()
    environment = os.environ | {
        "AZORA_PORT": str(port),
        "AZORA_HOME": str(home),
        "AZORA_RATE_LIMIT_SCALE": NO_LIMITS,
        "AZORA_TRACE_SAMPLE_RATIO": "0",  # Traces are for development: what is measured records none.
    }
    edge = f"http://127.0.0.1:{port}"
    command = Path(sys.executable).parent / "azora"
    log = home.with_suffix(".log")
    begun = time.monotonic()
    async with child(command, "up", log=log, environment=environment, stop_signal=signal.SIGINT) as process:
        async with httpx.AsyncClient(base_url=edge, trust_env=False) as http:
            await until(process, lambda: _healthy(http), log)
        yield System(edge, home, time.monotonic() - begun, psutil.Process(process.pid))


async def access_tokens(system: System, users: Sequence[str]) -> Mapping[str, str]:
    """Sign access tokens of students as Auth does, with its key; return them by user."""
    environment = system.service("auth").environ()
    names = AuthSettings.model_fields
    values: dict[str, Any] = {name: value for name in names if (value := environment.get(f"AZORA_{name.upper()}"))}
    auth = Container(AuthSettings(**values))
    try:
        claims: dict[str, Any] = {"role": "ROLE_STUDENT", "epoch": 0, "email_verified": False}
        return {user: (await auth.tokens.issue(user_id=user, session_id=new_id(), **claims)).text for user in users}
    finally:
        await auth.close()


async def _healthy(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).is_success
    except httpx.TransportError:
        return False


@dataclass(frozen=True, slots=True)
class People:
    """Who calls: a student enrolled in the first course, and an administrator."""

    http: httpx.AsyncClient
    student_id: str
    student: Mapping[str, str]
    """The student's headers."""
    admin: Mapping[str, str]

    @classmethod
    @asynccontextmanager
    async def signed_in(cls, edge: str) -> AsyncIterator[People]:
        """Sign both in."""
        async with httpx.AsyncClient(base_url=edge, timeout=30, trust_env=False) as http:
            student, admin = [await _session(http, account) for account in (STUDENT, ADMIN)]
            yield cls(http, student["user"]["id"], _bearer(student), _bearer(admin))

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """Return the JSON of a read. Raises httpx.HTTPStatusError."""
        return (await self.http.get(path, headers=dict(headers or {}))).raise_for_status().json()

    async def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        """Return the JSON of a write. Raises httpx.HTTPStatusError."""
        return (await self.http.post(path, json=dict(body), headers=dict(headers))).raise_for_status().json()

    async def write_courses(self, count: int) -> None:
        """Fill the catalogue up to `count` courses, each like the first one that was seeded."""
        listed = (await self.get("/v1/courses?pageSize=100"))["courses"]
        kept = ("title", "description", "price", "modules", "lessons", "content", "required")
        model = _only(kept, (await self.get(f"/v1/courses/{listed[-1]['id']}", self.admin))["course"])
        for number in range(len(listed), count):
            written = await self.post("/v1/courses", model | {"title": f"{model['title']}, part {number}"}, self.admin)
            await self.post(f"/v1/courses/{written['course']['id']}:publish", {}, self.admin)

    async def grant(self, minor_units: int, reference: str) -> None:
        """Fill the student's wallet."""
        amount = {"minorUnits": str(minor_units), "currency": "AZR"}
        await self.post("/v1/earn", {"userId": self.student_id, "amount": amount, "reference": reference}, self.admin)

    async def check_books(self) -> None:
        """Hold the books against what was measured. Raises BenchmarkError if they do not balance."""
        trial = await self.get("/v1/ledger/trialBalance", self.admin)
        if not trial["balanced"]:
            raise BenchmarkError(f"the books do not balance: {trial}")


async def _session(http: httpx.AsyncClient, account: Mapping[str, str]) -> Any:
    return (await http.post("/v1/auth/login", json=dict(account))).raise_for_status().json()


def _bearer(session: Mapping[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {session['accessToken']}"}


def _only(kept: tuple[str, ...], value: Any) -> Any:
    """Return a JSON value without what an answer has and a request does not."""
    if isinstance(value, list):
        return [_only(kept, item) for item in value]
    if isinstance(value, dict) and "currency" not in value:
        return {name: _only(kept, item) for name, item in value.items() if name in kept}
    return value
