"""Output of `azora`: progress, the table of a running system, failures."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from services.local.errors import WithLog

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.local.doctor import Finding
    from services.local.errors import LocalError
    from services.local.system import System

PASSWORD = "Student@2024!"  # noqa: S105 - the seeded account of a development system, printed for whoever runs it
EMAIL = "student@azora.world"
AUTHORITY = "CA.crt"
"""Stands for the file of the authority that issued the public certificate, which only its owner knows."""


class Report:
    """Prints to a terminal in colour, to anything else in plain text, and goes on when nobody reads any more.

    `as_json` prints JSON, one object per line.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._out = Console(highlight=False, markup=False, soft_wrap=True)
        self._errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line of progress."""
        self._print(self._out, Text.assemble(("azora ", "bold cyan"), text), progress=text)

    def line(self, text: Text) -> None:
        """Print a line as it is."""
        self._print(self._out, text)

    def welcome(self, system: System, *, seconds: float, seeded: bool) -> None:
        """Print where everything is and how to call it first."""
        if self._as_json:
            rows = {subject: text for subject, text in _welcome(system, seeded=seeded) if text}
            self._print(self._out, Text(), seconds=seconds, **rows)
            return
        self._print(self._out, Text.assemble("\n", ("Azora Mesh is up", "bold green"), f" after {seconds:.1f} s\n"))
        for subject, text in _welcome(system, seeded=seeded):
            self._print(self._out, Text.assemble((f"  {subject:<12}", "cyan"), text) if text else Text())
        self._print(self._out, Text())

    def findings(self, findings: Iterable[Finding]) -> bool:
        """Print what the doctor found, and return whether all is well."""
        well = True
        for finding in findings:
            mark = ("ok  ", "green") if finding.well else ("BAD ", "bold red")
            line = Text.assemble(mark, (f"{finding.subject:<12} ", "cyan"), finding.text)
            self._print(self._out, line, subject=finding.subject, well=finding.well, text=finding.text)
            well = well and finding.well
        return well

    def failure(self, error: LocalError) -> None:
        """Print what went wrong and what to do, and the end of the log that says why."""
        last_lines = error.last_lines if isinstance(error, WithLog) else ""
        self._print(
            self._errors, Text.assemble(("azora ", "bold red"), str(error)), error=str(error), lastLines=last_lines
        )
        if last_lines and not self._as_json:
            indented = "\n".join(f"  | {line}" for line in last_lines.splitlines())
            self._print(self._errors, Text(indented, style="dim"))

    def _print(self, console: Console, line: Text, /, **fields: object) -> None:
        with suppress(OSError):  # The terminal was closed, or the pipe: stopping in order matters more.
            console.print(json.dumps(fields) if self._as_json else line)


def _welcome(system: System, *, seeded: bool) -> Iterator[tuple[str, str]]:
    port = system.settings.public_port
    edge, address = port.url, f"{port.host}:{port.port}"
    curl, grpcurl, buf = "curl", "grpcurl -plaintext", "buf curl --protocol grpc --http2-prior-knowledge"
    if port.certificate:
        curl, buf = f"curl --cacert {AUTHORITY}", f"buf curl --cacert {AUTHORITY}"
        grpcurl = f"grpcurl -cacert {AUTHORITY}"
    yield "JSON", f"{edge}/v1"
    yield "gRPC", address
    yield "Health", f"{edge}/health"
    yield "Explorer", f"{edge}/docs, the OpenAPI document at {edge}/openapi.json"
    yield "Console", f"{edge}/console"
    yield "", ""
    yield "First call", f"{curl} {edge}/v1/courses"
    if seeded:
        body = f'{{"email":"{EMAIL}","password":"{PASSWORD}"}}'
        yield "Sign in", f"{curl} {edge}/v1/auth/login -H 'content-type: application/json' -d '{body}'"
    call = "azora.education.v1.CourseService/ListCourses"
    yield "grpcurl", f"{grpcurl} {address} {call}"
    yield "buf curl", f"{buf} {edge}/{call}"
    yield "", ""
    yield "Logs", f"azora logs --follow, or the files in {system.layout.logs}"
    yield "Stop", f"Ctrl-C, or kill {os.getpid()}"
    yield "Wipe", "make reset"
