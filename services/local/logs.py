"""The logs of the processes: bounded while the system runs, and readable for people (`azora logs`)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING

from rich.text import Text

from services.deployment.files import last_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

MAX_LOG_BYTES = 16 * 1024 * 1024
"""A log that exceeds this is rotated; with the one before it, a process keeps at most about twice as much."""
ROTATION_SECONDS = 2.0
FOLLOW_SECONDS = 0.2
LINES = 20
COLOURS = {"ERROR": "bold red", "WARNING": "yellow", "DEBUG": "dim"}
MILLISECONDS_END = len("2026-01-31T12:30:00.000")
LEADING = ("time", "level", "service", "message")


async def keep_bounded(folder: Path) -> None:
    """Rotate the logs in `folder` that grow too large, until cancelled."""
    while True:
        rotate_all(folder)
        await asyncio.sleep(ROTATION_SECONDS)


def rotate_all(folder: Path) -> None:
    """Rotate the logs in `folder` that have grown too large."""
    for log in folder.glob("*.log"):
        rotate(log)


def rotate(log: Path) -> None:
    """Move the content of a log that is too large to *.log.old.

    Its process has the file open to append, so it is emptied and not replaced; lines written meanwhile are lost.
    """
    with suppress(OSError):
        if log.stat().st_size <= MAX_LOG_BYTES:
            return
        with suppress(OSError):  # A full disk has no space for a copy, and emptying the log makes some.
            shutil.copyfile(log, log.with_suffix(".log.old"))
        with log.open("r+b") as file:
            file.truncate()


def show(logs: Sequence[Path], write: Callable[[str, str], None], *, follow: bool, request_id: str = "") -> None:
    """Write process and text of the logs' last lines in order of time; with `follow`, of new ones until interrupted.

    With a `request_id` they are all lines of that request.
    """
    offsets = {log: log.stat().st_size for log in logs}
    for _, process, line in sorted((entry for log in logs for entry in _recent(log, request_id)), key=itemgetter(0)):
        write(process, line)
    while follow:
        time.sleep(FOLLOW_SECONDS)
        for log, offset in offsets.items():
            lines, offsets[log] = new_lines(log, offset)
            for line in lines:
                if _is_of(line, request_id):
                    write(log.stem, line)


def new_lines(log: Path, offset: int) -> tuple[Sequence[str], int]:
    """Return the whole lines of the log after `offset`, and the offset after them."""
    with log.open("rb") as file:
        if file.seek(0, os.SEEK_END) < offset:  # It was rotated.
            offset = 0
        file.seek(offset)
        block = file.read()
    whole = block[: block.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), offset + len(whole)


def _recent(log: Path, request_id: str) -> Iterator[tuple[str, str, str]]:
    """Give the time, process and text of the log's last lines; a line without a time has that of the line before."""
    when = ""
    for line in _lines(log) if request_id else last_lines(log, LINES).splitlines():
        if not _is_of(line, request_id):
            continue
        text = str((_fields(line) or {}).get("time") or line.lstrip("["))[:MILLISECONDS_END].replace(" ", "T")
        when = text if text[:2].isdecimal() else when
        yield when, log.stem, line


def _lines(log: Path) -> Iterator[str]:
    for file in (log.with_suffix(".log.old"), log):
        with suppress(FileNotFoundError), file.open(errors="replace") as lines:
            yield from map(str.rstrip, lines)


def _is_of(line: str, request_id: str) -> bool:
    return not request_id or (request_id in line and (_fields(line) or {}).get("request_id") == request_id)


def as_object(line: str, process: str) -> Mapping[str, object]:
    """Return a line of a log as a JSON object with its process; one that is text is its message."""
    return {"process": process} | dict(_fields(line) or {"message": line})


def readable(line: str, process: str) -> Text:
    """Return a line of a log as people read it: time, level, process, message, then its other fields as key=value."""
    fields = _fields(line)
    if fields is None:
        return Text.assemble((f"{process:<10} ", "cyan"), line)
    level = str(fields.get("level", "INFO"))
    others = " ".join(f"{name}={value}" for name, value in fields.items() if name not in LEADING)
    return Text.assemble(
        (f"{str(fields.get('time', ''))[11:MILLISECONDS_END]} ", "dim"),
        (f"{level:<7} ", COLOURS.get(level, "green")),
        (f"{process:<10} ", "cyan"),
        str(fields.get("message", "")),
        (f"  {others}" if others else "", "dim"),
    )


def _fields(line: str) -> Mapping[str, object] | None:
    """Return the fields of a JSON line; None for any other line."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None
