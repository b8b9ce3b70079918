"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LAST_LINES = 20
TAIL_BYTES = 256 * 1024


def write_private(path: Path, content: bytes) -> None:
    """Put `content` at `path`, readable by its owner alone from its first moment, whole even after a crash."""
    write_private_together({path: content})


def write_private_together(contents: Mapping[Path, bytes]) -> None:
    """Put contents at paths as `write_private` does, in this order and as good as at once: all are written before."""
    for path, content in contents.items():
        draft = _draft(path)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    for path in contents:
        _draft(path).replace(path)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def last_lines(path: Path, count: int = LAST_LINES, *, without: Sequence[str] = ()) -> str:
    """Return the last lines of a log that contain none of the texts in `without`; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
            return "\n".join([line for line in lines if not any(text in line for text in without)][-count:])
    except FileNotFoundError:
        return ""
