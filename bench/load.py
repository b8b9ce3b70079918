"""Load: by h2load, which costs a tenth of what a client in Python does, or where it is missing by our own client."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import client
from bench.client import FRAME_BYTES, Load, Request
from bench.errors import WrongAnswer
from bench.processes import run

if TYPE_CHECKING:
    from collections.abc import Sequence

H2LOAD = shutil.which("h2load")
"""Debian: nghttp2-client."""
CONNECTIONS = 4
"""Of gRPC callers, who share them; JSON callers have one each."""
SPARE_SECONDS = 30
BODY_TOLERANCE = 0.02
"""How far answers may differ in size from the one that was checked: ids and numbers differ in length."""

FINISHED = re.compile(r"finished in ([\d.]+)(s|ms|us)\b")
UNIT_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
REQUESTS = re.compile(r"(\d+) done, (\d+) succeeded")
STATUS = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
DATA = re.compile(r"\((\d+)\) data")


async def load(request: Request, callers: int, seconds: float) -> Load:
    """Send the request from `callers` at once for `seconds`, after one that is checked.

    Raises WrongAnswer when an answer was not a success: h2load takes every gRPC answer for one, as its HTTP status is
    200 whatever its grpc-status, so the size of all answers must be what the checked one's says.
    """
    expected = len(await client.call(request)) + FRAME_BYTES * request.grpc
    seen = await (_h2load(request, callers, seconds) if H2LOAD else client.load(request, callers, seconds))
    # h2load counts the bytes of answers that its end cut off, and not their calls: up to one for each caller.
    minimum = expected * seen.calls * (1 - BODY_TOLERANCE)
    maximum = expected * (seen.calls + callers) * (1 + BODY_TOLERANCE)
    if not minimum <= seen.body_bytes <= maximum:
        raise WrongAnswer(
            f"{request.path}: {seen.body_bytes} bytes in {seen.calls} answers, where one has {expected}: some failed"
        )
    return seen


async def _h2load(request: Request, callers: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory(prefix="azb") as folder:
        log, body = Path(folder) / "log", Path(folder) / "body"
        if request.body is not None:
            frame = b"\0" + len(request.body).to_bytes(4) if request.grpc else b""
            body.write_bytes(frame + request.body)
        arguments = _arguments(request, callers, seconds, body if request.body is not None else None)
        text = await run(str(H2LOAD), *arguments, f"--log-file={log}", seconds=seconds + SPARE_SECONDS)
        lines = await asyncio.to_thread(log.read_text)
    return read_report(text, lines.splitlines())


def _arguments(request: Request, callers: int, seconds: float, body: Path | None) -> list[str]:
    headers = dict(request.headers)
    if request.grpc:
        connections = min(CONNECTIONS, callers)
        arguments = ["-c", str(connections), "-m", str(callers // connections)]
        headers |= {"content-type": "application/grpc", "te": "trailers"}
    else:
        arguments = ["--h1", "-c", str(callers)]
        headers |= {"content-type": "application/json"} if body else {}
    arguments += ["-D", f"{round(seconds * 1000)}ms"]
    arguments += [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    arguments += ["-d", str(body)] if body else []
    if request.target.startswith("unix:"):
        return [*arguments, "-B", request.target, f"http://localhost{request.path}"]
    return [*arguments, f"{request.target}{request.path}"]


def read_report(text: str, log: Sequence[str]) -> Load:
    """Read what h2load printed and its log of requests. Raises WrongAnswer for any answer but a success."""
    finished, requests, status, data = (pattern.search(text) for pattern in (FINISHED, REQUESTS, STATUS, DATA))
    if not (finished and requests and status and data):
        raise WrongAnswer(f"h2load said what is not understood: {text}")
    done, succeeded = map(int, requests.groups())
    if done != succeeded or any(int(count) for count in status.groups()[1:]):
        raise WrongAnswer(f"{requests.group()}, {status.group()}")
    return Load(
        calls=succeeded,
        elapsed_seconds=float(finished[1]) * UNIT_SECONDS[finished[2]],
        latencies_seconds=[int(line.split("\t")[2]) / 1e6 for line in log],
        body_bytes=int(data[1]),
    )
