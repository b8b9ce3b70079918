"""The logs: bounded while the system runs, and followed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from services.local import logs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 10)
    return tmp_path / "auth.log"


def test_a_log_is_bounded_while_its_process_has_it_open(log: Path) -> None:
    with log.open("ab", buffering=0) as process:
        process.write(b"a line too many\n")
        logs.rotate_all(log.parent)
        assert log.with_suffix(".log.old").read_bytes() == b"a line too many\n"
        process.write(b"next\n")
        logs.rotate_all(log.parent)
        assert log.read_bytes() == b"next\n"


def test_a_full_disk_bounds_a_log_too(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log.write_bytes(b"a line too many\n")
    monkeypatch.setattr(shutil, "copyfile", refuse)
    logs.rotate(log)
    assert log.read_bytes() == b""


def test_new_lines_are_whole_and_survive_a_rotation(log: Path) -> None:
    log.write_bytes(b"first\nsecond\nhal")
    lines, offset = logs.new_lines(log, len(b"first\n"))
    assert lines == ["second"]
    log.write_bytes(b"anew\n")
    assert logs.new_lines(log, offset) == (["anew"], 5)


def test_following_shows_what_comes(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    log.write_text("old\n")

    def wait(_: float) -> None:
        if len(shown) > 1:
            raise KeyboardInterrupt
        with log.open("a") as file:
            file.write('{"time":"2026-11-25T23:00:02.372+00:00","level":"ERROR","message":"lost"}\n[]\n')

    def write(process: str, line: str) -> None:
        shown.append(logs.readable(line, process).plain)

    monkeypatch.setattr("time.sleep", wait)
    with pytest.raises(KeyboardInterrupt):
        logs.show([log], write, follow=True)
    assert shown == ["auth       old", "23:00:02.372 ERROR   auth       lost", "auth       []"]
