"""Worker processes that run bcrypt, as the service calls them."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING, ParamSpec, TypeVar, cast

from services.auth.passwords import worker

if TYPE_CHECKING:
    from collections.abc import Callable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

MAX_ATTEMPTS = 2
"""Of a call whose process is killed meanwhile."""
MAX_CALL_SECONDS = 30.0
"""A process that takes longer is stopped or hangs, and would have everyone refused for as long as it does."""


class BcryptWorker:
    """Calls functions of `worker` in a process of its own, one at a time.

    It starts with the first call, and ends with this process at the latest. Not a ProcessPoolExecutor: one dead process
    breaks such a pool, a stopped one is never noticed, and its processes inherit the environment, which has secrets.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def call(
        self, function: Callable[Parameters, Result], *arguments: Parameters.args, **_: Parameters.kwargs
    ) -> Result:
        """Return what the function returns: wait for it, with the GIL released.

        Raises BcryptError, WorkerEndedError.
        """
        request = json.dumps([function.__name__, *arguments])
        for _attempt in range(MAX_ATTEMPTS):
            with self._lock:  # One that starts while this closes would stay behind.
                if self._closed:
                    break
                process = self._process = self._process or _start()
            # Its response may still come: a process that failed is sent no other request.
            with suppress(OSError, ValueError):
                return cast("Result", _send(process, request))
            self._end()
        raise WorkerEndedError

    def close(self) -> None:
        """End the process, whatever it is doing."""
        with self._lock:
            self._closed = True
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Waits, and closes the pipes: what it did not read any more cannot be written.
            with suppress(BrokenPipeError), process:
                pass


class BcryptError(RuntimeError):
    """What was asked cannot be done, as with a malformed hash. It says what bcrypt says."""


class WorkerEndedError(RuntimeError):
    """The process ended instead of answering: it was killed or too slow, more than once, or closed."""


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - Python with our file, and without the service's environment
        [sys.executable, "-I", worker.__file__],
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    )


def _send(process: subprocess.Popen[str], request: str) -> object:
    """Return the response.

    Raises BcryptError; OSError or ValueError if none comes in time: the process ended, is stopped, or is closed.
    """
    requests, responses = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
    requests.write(f"{request}\n")
    answered = select.poll()
    answered.register(responses, select.POLLIN)
    if not answered.poll(MAX_CALL_SECONDS * 1000):
        raise TimeoutError
    response = json.loads(responses.readline())
    if isinstance(response, dict) and "error" in response:
        raise BcryptError(response["error"])
    return response
