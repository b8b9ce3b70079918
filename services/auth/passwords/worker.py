"""bcrypt in a worker process: reads a request per line of standard input, writes a response per line, both JSON.

A thread would hold up the service's event loop twice: by the GIL, which it may have while it waits for a CPU, and as a
part of the service, which Linux makes wait once it has used its share. A process in a session of its own has its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt

if TYPE_CHECKING:
    from collections.abc import Callable

NICENESS = 10
"""With all cores hashing, everything else still gets a core at once, and an idle one loses nothing."""
AUTOGROUP = Path("/proc/self/autogroup")
"""Niceness of a session: where Linux shares CPU time among sessions, that of a process counts within its own alone."""


def hash_digest(digest: str, cost: int) -> str:
    """Return a new bcrypt hash of a digest."""
    return bcrypt.hashpw(digest.encode(), bcrypt.gensalt(cost)).decode()


def check_digest(digest: str, known: str | None, cost: int) -> bool:
    """Whether `known` is the digest's hash. If it is not, or there is none, that takes as long as a check at `cost`.

    Each cost takes twice as long as the one before, so those from the hash's own on and itself are as much as one of
    today's: or accounts older than the setting would be told from addresses without one.
    """
    password_hash = known or _nobodys(cost)
    if bcrypt.checkpw(digest.encode(), password_hash.encode()):
        return True
    for each in range(int(password_hash.split("$")[2]), cost):
        bcrypt.checkpw(digest.encode(), _nobodys(each).encode())
    return False


def _nobodys(cost: int) -> str:
    """Return a hash that no password is known to have; checking one takes as long as any other check."""
    return f"$2b${cost:02}${'.' * 53}"


def serve() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.nice(NICENESS)
    session_nice = False
    functions: dict[str, Callable[..., object]] = {each.__name__: each for each in (hash_digest, check_digest)}
    for request in sys.stdin:
        session_nice = session_nice or _make_session_nice()
        name, *arguments = json.loads(request)
        try:
            response = functions[name](*arguments)
        except ValueError as error:  # Logged with the call that sent it: a traceback here would be no line of JSON.
            response = {"error": str(error)}
        sys.stdout.write(f"{json.dumps(response)}\n")
        sys.stdout.flush()


def _make_session_nice() -> bool:
    """Whether that is done, or cannot be. Linux lets all without privileges set one session's each 0.1 s."""
    try:
        AUTOGROUP.write_text(str(NICENESS))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


if __name__ == "__main__":
    serve()
