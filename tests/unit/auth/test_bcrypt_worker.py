"""Processes that run bcrypt: what they see, and what becomes of a call when one is killed, stopped or confused."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
import psutil
import pytest

from services.auth.passwords import worker, workers
from services.auth.passwords.operations import PasswordOperations
from services.auth.passwords.worker import NICENESS, check_digest, hash_digest
from services.auth.passwords.workers import BcryptError, BcryptWorker, WorkerEndedError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def passwords() -> AsyncIterator[PasswordOperations]:
    passwords = PasswordOperations(cost=4, workers=1)
    yield passwords
    await passwords.close()


def process_of(passwords: PasswordOperations) -> psutil.Process:
    (only,) = passwords._workers
    return running(only)


def running(started: BcryptWorker) -> psutil.Process:
    assert started._process is not None
    return psutil.Process(started._process.pid)


async def test_hashing_leaves_the_cpu_to_everything_else(passwords: PasswordOperations) -> None:
    await passwords.hash("quiet morning")
    pid = process_of(passwords).pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
    assert os.getsid(pid) == pid
    with suppress(FileNotFoundError):  # A kernel that does not share CPU time among sessions.
        assert f"nice {NICENESS}" in await asyncio.to_thread(Path(f"/proc/{pid}/autogroup").read_text)


async def test_the_process_that_hashes_knows_no_secret_and_ends_with_its_parent(passwords: PasswordOperations) -> None:
    await passwords.hash("quiet morning")
    process = process_of(passwords)
    assert process.environ() == {}
    await passwords.close()
    assert not process.is_running()


async def test_a_process_that_was_killed_is_replaced(passwords: PasswordOperations) -> None:
    hashed = await passwords.hash("quiet morning")
    process_of(passwords).kill()
    assert await passwords.matches("quiet morning", hashed)
    checking = asyncio.create_task(passwords.matches("quiet morning", hashed.replace("$04$", "$12$")))

    async def busy() -> bool:
        return process_of(passwords).status() == psutil.STATUS_RUNNING

    await eventually(busy)
    process_of(passwords).kill()
    assert await checking is False


async def test_a_process_that_was_killed_while_it_had_nothing_to_do_is_replaced(passwords: PasswordOperations) -> None:
    hashed = await passwords.hash("quiet morning")
    process = process_of(passwords)
    process.kill()

    async def dead() -> bool:
        return process.status() == psutil.STATUS_ZOMBIE  # Only then is the pipe to it broken.

    await eventually(dead)
    assert await passwords.matches("quiet morning", hashed)


async def test_a_process_that_is_stopped_is_replaced(
    passwords: PasswordOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = await passwords.hash("quiet morning")
    monkeypatch.setattr(workers, "MAX_CALL_SECONDS", 0.5)
    process = process_of(passwords)
    process.send_signal(signal.SIGSTOP)
    assert await passwords.matches("quiet morning", hashed)
    assert not process.is_running()


def test_a_process_that_answers_something_else_is_sent_no_other_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next response would be to the request before: one person's password would sign another in."""
    chatty = tmp_path / "chatty.py"
    program = f"runpy.run_path({worker.__file__!r}, run_name='__main__')"
    chatty.write_text(f"import runpy\nprint('a greeting', flush=True)\n{program}\n")
    bare, right = BcryptWorker(), hash_digest("a digest", 4)
    with monkeypatch.context() as patched:
        patched.setattr(worker, "__file__", str(chatty))
        for digest in ("a digest", "another digest"):
            with pytest.raises(WorkerEndedError):
                bare.call(check_digest, digest, right, 4)
    assert not bare.call(check_digest, "another digest", right, 4)
    bare.close()


def test_a_process_that_starts_while_it_is_closed_does_not_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    bare, start, started = BcryptWorker(), workers._start, list[subprocess.Popen[str]]()
    closing = threading.Thread(target=bare.close)

    def start_while_closing() -> subprocess.Popen[str]:
        closing.start()
        closing.join(0.2)
        started.append(start())
        return started[0]

    monkeypatch.setattr(workers, "_start", start_while_closing)
    with pytest.raises(WorkerEndedError):
        bare.call(hash_digest, "a digest", 16)
    closing.join()
    assert started[0].poll() is not None


def test_niceness_that_linux_does_not_take_yet_is_set_with_a_later_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For those without privileges, Linux sets it for one session each 0.1 s: processes start together."""
    asked: list[str] = []

    class Autogroup:
        def write_text(self, text: str) -> None:
            asked.append(text)
            if len(asked) < 3:
                raise BlockingIOError

    monkeypatch.setattr(worker, "AUTOGROUP", Autogroup())
    monkeypatch.setattr(os, "nice", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("sys.stdin", io.StringIO('["hash_digest", "a digest", 4]\n' * 5))
    worker.serve()
    assert asked == [str(NICENESS)] * 3
    assert capsys.readouterr().out.count("$2b$04$") == 5


def test_a_malformed_hash_is_an_error_of_its_own_call(capfd: pytest.CaptureFixture[str]) -> None:
    """One line in the log, with bcrypt's words; and the process goes on."""
    bare = BcryptWorker()
    right = bare.call(hash_digest, "a digest", 4)
    before = running(bare)
    for malformed in ("no hash", "$2b$04$short", "$2b$99$" + "." * 53):
        with pytest.raises(BcryptError):
            bare.call(check_digest, "a digest", malformed, 4)
    assert bare.call(check_digest, "a digest", right, 4)
    assert running(bare) == before
    bare.close()
    assert capfd.readouterr().err == ""


def test_work_that_nothing_survives_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = tmp_path / "ends.py"
    ends.touch()
    bare = BcryptWorker()
    with monkeypatch.context() as patched:
        patched.setattr(worker, "__file__", str(ends))
        with pytest.raises(WorkerEndedError):
            bare.call(hash_digest, "a digest", 4)
    assert bare.call(check_digest, "a digest", bare.call(hash_digest, "a digest", 4), 4)
    bare.close()
    with pytest.raises(WorkerEndedError):
        bare.call(hash_digest, "a digest", 4)


@pytest.mark.parametrize("cost", [4, 5, 7, None])
def test_a_wrong_password_takes_alike_at_whatever_cost_it_was_hashed(
    cost: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, rounds = hash_digest("right", cost) if cost else None, []

    def counted(digest: bytes, against: bytes) -> bool:
        rounds.append(2 ** int(against.split(b"$")[2]))
        return checkpw(digest, against)

    checkpw = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert not check_digest("wrong", known, 7)
    assert sum(rounds) == 2**7
    assert known is None or check_digest("right", known, 7)
