"""The checkpoint file: what is kept of checkpoints outside the database, one JSON object a line."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.payment.proofs import note
from services.payment.proofs.model import Finding, FindingType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from services.payment.proofs.model import Checkpoint, CheckpointKey

TAIL_BYTES = 16 * 1024
"""More than the last two lines."""
MODE = 0o640


@dataclass(frozen=True, slots=True)
class PublishedCheckpoint:
    """A checkpoint as the file has it, with its key."""

    number: int
    note: str
    verifier: str
    endorsement: bytes

    @classmethod
    def of(cls, checkpoint: Checkpoint, key: CheckpointKey) -> PublishedCheckpoint:
        """Return what is published of a checkpoint."""
        return cls(checkpoint.number, checkpoint.note, key.verifier, key.endorsement or b"")

    def line(self) -> str:
        """Return the line of the file."""
        fields: dict[str, Any] = {
            "number": self.number,
            "note": self.note,
            "verifierKey": self.verifier,
            "endorsement": base64.b64encode(self.endorsement).decode(),
        }
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def read(cls, line: str) -> PublishedCheckpoint | None:
        """Return what a line says; None for a line that was not written to its end."""
        try:
            fields = json.loads(line)
            endorsement = base64.b64decode(fields["endorsement"])
            return cls(int(fields["number"]), str(fields["note"]), str(fields["verifierKey"]), endorsement)
        except (ValueError, KeyError, TypeError):
            return None


class CheckpointFile:
    """A file that checkpoints are appended to. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last_number(self) -> int:
        """Return the number of the last checkpoint in the file; 0 if there is none. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return 0
        return max((read.number for line in lines if (read := PublishedCheckpoint.read(line))), default=0)

    def append(self, checkpoints: Sequence[PublishedCheckpoint]) -> None:
        """Append checkpoints, each with one write, and wait until they are on disk. Raises OSError."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, MODE)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # The line before was cut off.
                os.write(descriptor, b"\n")
            for checkpoint in checkpoints:
                os.write(descriptor, f"{checkpoint.line()}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> Sequence[PublishedCheckpoint]:
        """Return all checkpoints of the file. Raises OSError."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [published for line in lines if (published := PublishedCheckpoint.read(line))]


def published_findings(published: Iterable[PublishedCheckpoint], stored: Mapping[int, str]) -> list[Finding]:
    """Compare the file with the notes that are stored, by number.

    The first key of the file is trusted; another one is if the key before it endorsed it.
    """
    findings: list[Finding] = []
    trusted = ""
    for checkpoint in published:
        problem = ""
        if trusted and checkpoint.verifier != trusted:
            if note.is_endorsed(checkpoint.verifier, checkpoint.endorsement, trusted):
                trusted = checkpoint.verifier
            else:
                problem = "its key is not endorsed by the key before it"
        trusted = trusted or checkpoint.verifier
        if not problem and not note.verify(checkpoint.note, trusted):
            problem = "its signature in the file is invalid"
        if not problem and stored.get(checkpoint.number) != checkpoint.note:
            missing = checkpoint.number not in stored
            problem = "it is missing in the database" if missing else "the database has another one"
        if problem:
            findings.append(Finding(FindingType.CHECKPOINT_MISMATCH, f"checkpoints/{checkpoint.number}", problem))
    return findings
