"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LAST_LINES = 20
TAIL_BYTES = 256 * 1024


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path`, readable by its owner alone from its first moment, whole even after a crash."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def last_lines(path: Path, count: int = LAST_LINES, *, without: Sequence[str] = ()) -> str:
    """Return the last lines of a log that contain none of the texts in `without`; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
            return "\n".join([line for line in lines if not any(text in line for text in without)][-count:])
    except FileNotFoundError:
        return ""
