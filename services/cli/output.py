"""What commands of operators print."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def say_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns below a header; nothing where there are none."""
    found = list(rows)
    if found:
        widths = [max(map(len, column)) for column in zip(header, *found, strict=True)]
        for row in (header, *found):
            say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def failed(command: str, reason: object) -> int:
    """Print why a command failed, as an error; return its exit code."""
    sys.stderr.write(f"azora {command}: {reason}\n")
    return 1
