"""What commands print: lines and tables for people, or JSON for programs, one object per line."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


def _shown(value: object) -> str:
    return "-" if value in (None, "") else str(value)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    show: Callable[[Any], str] = _shown
    """Returns a value as people read it; JSON has the value itself."""
    name: str = ""
    """Name of the value in JSON; that of the title in lowerCamelCase unless set."""

    @property
    def key(self) -> str:
        """The name of the value in JSON."""
        first, *others = self.title.lower().replace("/", " per ").split()
        return self.name or first + "".join(word.capitalize() for word in others)


@dataclass(frozen=True, slots=True)
class Output:
    """Prints on standard output, and failures on standard error."""

    as_json: bool = False

    def say(self, line: str, **fields: object) -> None:
        """Print a line; as JSON its fields, or the line as `message` where it has none."""
        if self.as_json:
            self.json(fields or {"message": line})
        else:
            sys.stdout.write(f"{line}\n")

    def json(self, value: object) -> None:
        """Print a value as a line of JSON, whatever is asked for."""
        sys.stdout.write(f"{orjson.dumps(value, default=str).decode()}\n")
        sys.stdout.flush()

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Any]]) -> None:
        """Print rows in columns below their titles; nothing where there are none."""
        found = list(rows)
        if self.as_json:
            for row in found:
                self.json({column.key: value for column, value in zip(columns, row, strict=True)})
        elif found:
            titles = [column.title for column in columns]
            shown = [[column.show(value) for column, value in zip(columns, row, strict=True)] for row in found]
            widths = [max(map(len, cells)) for cells in zip(titles, *shown, strict=True)]
            for cells in (titles, *shown):
                self.say("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())

    def gap(self) -> None:
        """Print an empty line between tables; JSON has none."""
        if not self.as_json:
            self.say("")

    def finding(self, kind: str, resource: str, description: str) -> None:
        """Print what a verification found."""
        self.say(f"{kind} {resource}: {description}", type=kind, resource=resource, description=description)

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show on a terminal that something long goes on; the given function replaces the text."""
        from rich.console import Console  # noqa: PLC0415 - takes as long as a short command

        terminal = Console(stderr=True)
        if self.as_json or not terminal.is_terminal:
            yield lambda _text: None
        else:
            with terminal.status(text) as status:
                yield status.update

    def failed(self, command: str, reason: object) -> int:
        """Print why a command failed; return its exit code."""
        if self.as_json:
            sys.stderr.write(f"{orjson.dumps({'command': command, 'error': str(reason)}).decode()}\n")
        else:
            sys.stderr.write(f"azora {command}: {reason}\n")
        return 1


def yes(value: object) -> str:
    """Return a truth as people read it in a column."""
    return "yes" if value else "-"
