"""The pages that people read, and the code blocks and commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "generated/README.md",
    "generated/typescript/README.md",
    "examples/web/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
GUIDES = ("docs/add-an-rpc.md", "docs/add-an-event.md", "docs/add-a-service.md")
"""Pages of changes, which are followed in this order."""
FENCE = re.compile(r"^(?:`(?P<path>[\w./-]+)`\n\n)?```(?P<info>.*)\n(?P<text>(?s:.*?))^```$", re.MULTILINE)
SHELL, CONTAINER = "sh", "container"
OPERATORS = ("|", "||", "&&", ";", ">", "<", ">>")


@dataclass(frozen=True, slots=True)
class Block:
    """A code block."""

    language: str
    marks: tuple[str, ...]
    """What follows the language: CONTAINER where the commands need a container engine or a cluster."""
    text: str
    path: str
    """The file that it is, where the line above it names one."""


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page."""
    text = (ROOT / page).read_text()
    return [_block(found) for found in FENCE.finditer(text)]


def _block(found: re.Match[str]) -> Block:
    language, *marks = found["info"].split() or [""]
    return Block(language, tuple(marks), found["text"], found["path"] or "")


def shell_lines(page: str, *, container: bool = False) -> list[str]:
    """Return the command lines of a page, continued lines joined."""
    return [
        line
        for block in blocks(page)
        if block.language == SHELL and (CONTAINER in block.marks) is container
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]


def words(line: str) -> list[str]:
    """Return the words of a command line, without its comment."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def simple_commands(line: str) -> Iterator[Sequence[str]]:
    """Yield the simple commands of a line: those of a pipe and of $(...) one by one, without assignments."""
    line = re.sub(r"^(\w+)=\$\((.*)\)$", r"\2", line.strip())
    command: list[str] = []
    redirected = False
    for word in (*words(line), ";"):
        if word in OPERATORS:
            redirected = word in (">", "<", ">>")
            if not redirected:
                yield from (command,) if command else ()
                command = []
        elif redirected:
            redirected = False
        elif command or not re.match(r"\w+=", word):
            command.append(word)
