"""Password rules, hashing and verification: bcrypt in worker processes, behind a queue bounded by deadlines."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar

from services.auth.errors import PasswordChecksBusy, PasswordRefused
from services.auth.passwords.model import find_flaw
from services.auth.passwords.worker import check_digest, hash_digest
from services.auth.passwords.workers import BcryptWorker
from services.shared.cpus import available_cpus
from services.shared.principal import current_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

COST_12_SECONDS = 0.3
"""Estimated duration of a hash of cost 12, until measured."""
MAX_WAIT_SECONDS = 10.0
MEASURE_WEIGHT = 0.2

_has_place: ContextVar[bool] = ContextVar("azora_place_in_password_queue", default=False)


class PasswordOperations:
    """Hashes and checks passwords without stalling anything else.

    There are as many worker processes as CPUs to use, and threads that wait for them.
    """

    def __init__(self, cost: int, *, workers: int | None = None) -> None:
        self._cost = cost
        self._workers = [BcryptWorker() for _ in range(workers or available_cpus())]
        self._idle = list(self._workers)
        self._pool = ThreadPoolExecutor(len(self._workers), thread_name_prefix="bcrypt")
        self._pending = 0
        self._started: dict[BcryptWorker, float] = {}
        """When the work that each worker has now began."""
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
        return await self._run(lambda worker: worker.call(hash_digest, _digest(password), self._cost))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether the password has this hash; without one it takes as long and is False. Raises PasswordChecksBusy."""
        return await self._run(lambda worker: worker.call(check_digest, _digest(password), password_hash, self._cost))

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
        """Drop what waits, and end the workers."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()

    async def _run(self, work: Callable[[BcryptWorker], Result]) -> Result:
        with nullcontext() if _has_place.get() else self.place():
            # Who gives up while waiting takes the work out of the queue.
            result, seconds = await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        self._seconds_each += MEASURE_WEIGHT * (seconds - self._seconds_each)
        return result

    def _refuse_if_too_late(self) -> None:
        request = current_request()
        remaining = request.remaining_seconds(MAX_WAIT_SECONDS) if request else MAX_WAIT_SECONDS
        rounds = self._pending // len(self._workers) + 1
        late = rounds * self._expected_seconds() - remaining
        if late > 0:
            raise PasswordChecksBusy(retry_after_seconds=max(1.0, late))

    def _expected_seconds(self) -> float:
        """Return what one check takes: as long as the last ones, or as what runs now has taken already."""
        now = time.perf_counter()
        return max([self._seconds_each, *(now - started for started in tuple(self._started.values()))])

    def _timed(self, work: Callable[[BcryptWorker], Result]) -> tuple[Result, float]:
        worker, started = self._idle.pop(), time.perf_counter()  # There are as many threads as workers.
        self._started[worker] = started
        try:
            return work(worker), time.perf_counter() - started
        finally:
            del self._started[worker]
            self._idle.append(worker)


def _digest(password: str) -> str:
    """Return what bcrypt is given: it reads 72 bytes at most and stops at NUL, and a digest in base64 is 64 letters.

    NFKC makes the same password of what different keyboards send (NIST SP 800-63B-4, section 3.1.1.2).
    """
    digest = hashlib.sha384(unicodedata.normalize("NFKC", password).encode()).digest()
    return base64.b64encode(digest).decode()
