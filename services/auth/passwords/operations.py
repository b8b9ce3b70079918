"""Password rules, hashing and verification: bcrypt in its own threads, behind a queue bounded by deadlines."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

import bcrypt

from services.auth.errors import PasswordChecksBusy, PasswordRefused
from services.auth.passwords.model import find_flaw
from services.shared.cpus import available_cpus
from services.shared.principal import current_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

COST_12_SECONDS = 0.3
"""Estimated duration of a hash of cost 12, until measured."""
MAX_WAIT_SECONDS = 10.0
MEASURE_WEIGHT = 0.2
NICENESS = 5
"""Of the threads: with all cores hashing, other calls still get a core at once, and an idle one loses nothing."""

_has_place: ContextVar[bool] = ContextVar("azora_place_in_password_queue", default=False)


class PasswordOperations:
    """Hashes and checks passwords without stalling anything else.

    bcrypt lets go of the GIL, so there are as many threads as CPUs to use: more would only take the event loop's share.
    """

    def __init__(self, cost: int, *, threads: int | None = None) -> None:
        self._cost = cost
        self._threads = threads or available_cpus()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="bcrypt", initializer=_yield_cpu)
        self._pending = 0
        self._started: dict[int, float] = {}
        """When the work that each thread has now began."""
        self._seconds_each = COST_12_SECONDS * 2.0 ** (cost - 12)
        lines = files(__package__).joinpath("common_passwords.txt").read_text("utf-8").splitlines()
        self._common = frozenset(line for line in lines if not line.startswith("#"))

    def refuse_guessable(self, password: str, *, local_part: str, name: str) -> None:
        """Raise PasswordRefused for a password that is easy to guess, from the address and name or by itself."""
        flaw = find_flaw(password, local_part=local_part, name=name, common=self._common)
        if flaw is not None:
            raise PasswordRefused(rule=flaw)

    async def hash(self, password: str) -> str:
        """Return the password's hash. Raises PasswordChecksBusy."""
        return await self._run(lambda: bcrypt.hashpw(_digest(password), bcrypt.gensalt(self._cost)).decode())

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password has this hash; without one it takes as long and is False. Raises PasswordChecksBusy."""
        return await self._run(lambda: self._checked(_digest(password), password_hash or _nobodys(self._cost)))

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place in the queue, for a check or hash within: whoever is too late knows it before any other work.

        Raises PasswordChecksBusy.
        """
        self._refuse_if_too_late()
        self._pending += 1
        token = _has_place.set(True)
        try:
            yield
        finally:
            self._pending -= 1
            _has_place.reset(token)

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made at another cost than is asked for now."""
        return not password_hash.startswith(f"$2b${self._cost:02}$")

    async def close(self) -> None:
        """Drop what waits and let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _checked(self, digest: bytes, password_hash: str) -> bool:
        """Whether this is the digest's hash. A wrong one takes as long for a hash of a lower cost than today's.

        Each cost takes twice as long as the one before, so those from the hash's own on and itself are as much as one
        of today's: or accounts older than the setting would be told from addresses without one.
        """
        if bcrypt.checkpw(digest, password_hash.encode()):
            return True
        for cost in range(int(password_hash.split("$")[2]), self._cost):
            bcrypt.checkpw(digest, _nobodys(cost).encode())
        return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        with nullcontext() if _has_place.get() else self.place():
            # Who gives up while waiting takes the work out of the queue.
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        self._seconds_each += MEASURE_WEIGHT * (seconds - self._seconds_each)
        return result

    def _refuse_if_too_late(self) -> None:
        request = current_request()
        remaining = request.remaining_seconds(MAX_WAIT_SECONDS) if request else MAX_WAIT_SECONDS
        rounds = self._pending // self._threads + 1
        late = rounds * self._expected_seconds() - remaining
        if late > 0:
            raise PasswordChecksBusy(retry_after_seconds=max(1.0, late))

    def _expected_seconds(self) -> float:
        """Return what one check takes: as long as the last ones, or as what runs now has taken already."""
        now = time.perf_counter()
        return max([self._seconds_each, *(now - started for started in tuple(self._started.values()))])

    def _timed(self, work: Callable[[], Result]) -> tuple[Result, float]:
        thread, started = threading.get_ident(), time.perf_counter()
        self._started[thread] = started
        try:
            return work(), time.perf_counter() - started
        finally:
            del self._started[thread]


def _yield_cpu() -> None:
    """Let everything else on the machine go first: a thread has a priority of its own on Linux."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


def _nobodys(cost: int) -> str:
    """Return a hash that no password is known to have; checking one takes as long as any other check."""
    return f"$2b${cost:02}${'.' * 53}"


def _digest(password: str) -> bytes:
    """Return what bcrypt is given: it reads 72 bytes at most and stops at NUL, and a digest in base64 is 64 letters.

    NFKC makes the same password of what different keyboards send (NIST SP 800-63B-4, section 3.1.1.2).
    """
    return base64.b64encode(hashlib.sha384(unicodedata.normalize("NFKC", password).encode()).digest())
