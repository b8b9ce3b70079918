"""The command line."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING

import pytest

from services.cli import __main__ as cli
from services.local.errors import ProcessFailed
from services.local.layout import lock_path
from services.local.orphans import run_lock
from services.local.report import Report
from tests.support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AZORA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AZORA_PORT", str(free_port()))
    return tmp_path / "home"


def _run(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return ended.value.code


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--help") == 0
    listed = capsys.readouterr().out.split()
    assert {"up", "doctor", "status", "policy", "reset", "seed", "demo", "serve", "migrate", "pki", "verify"} <= set(
        listed
    )


@pytest.mark.parametrize("replicas", ["payment", "payment=0", "payment=9", "envoy=2", "payment=2;auth=2"])
def test_replicas_that_make_no_sense(replicas: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("up", "--replicas", replicas) == 2
    assert "a number from 1 to 8" in capsys.readouterr().err


def test_replicas_are_given_together_or_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, object]] = []
    monkeypatch.setattr("services.local.up.up", lambda _settings, _report, **options: seen.append(options))
    assert _run("up", "--replicas", "payment=2,auth=3", "--replicas", "education=2", "--tcp") == 0
    assert seen == [{"seeded": True, "replicas": {"payment": 2, "auth": 3, "education": 2}, "tcp": True}]


def test_the_policy_of_a_service(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("policy", "payment") == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "PaymentService/Earn " in line)
    assert ("service education" in row, "MONEY" in row or "USER" in row, " s " in row) == (True, True, True)
    assert "auth.v1" not in shown
    assert "CREDENTIALS  10/min" in shown
    assert _run("policy", "nobody") == 2


@pytest.mark.usefixtures("home")
def test_the_limits_are_those_in_force(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AZORA_RATE_LIMITS", "CREDENTIALS.per_address=50")
    monkeypatch.setenv("AZORA_RATE_LIMIT_SCALE", "0.5")
    assert _run("policy", "payment") == 0
    shown = capsys.readouterr().out
    assert re.search(r"^CREDENTIALS +25/min", shown, re.MULTILINE)
    assert re.search(r"^USER .* 300/min$", shown, re.MULTILINE)
    assert re.search(r"PaymentService/CreatePayment .* MONEY +HIGH ", shown)
    monkeypatch.setenv("AZORA_RATE_LIMITS", "NOTHING.per_address=1")
    assert _run("policy") == 1
    assert "must name limits of the contract" in capsys.readouterr().err


@pytest.mark.parametrize("interval", ["0", "61", "soon"])
def test_status_needs_a_running_system_and_a_sensible_interval(
    interval: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("status") == 1
    assert "Start it with `make run`" in capsys.readouterr().err
    assert _run("status", "--interval", interval) == 2


def test_the_doctor_says_what_is_well(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("doctor") == 0
    assert "PostgreSQL and Envoy: installed" in capsys.readouterr().out


def test_the_doctor_says_what_is_not(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.write_text("a file")
    assert _run("doctor") == 1
    assert "BAD home" in capsys.readouterr().out


def test_the_local_system_refuses_production(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZORA_ENV", "production")
    assert _run("up") == 1
    assert "docker compose up" in capsys.readouterr().err
    assert not home.exists()


def test_logs_are_shown_in_order_and_by_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("logs") == 1
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "auth.log").write_text(
        '{"time":"2026-11-25T23:00:02.372+00:00","level":"INFO","service":"auth","message":"listening","listen":"unix:a"}\n'
    )
    (home / "logs" / "postgres.log").write_text("2026-11-25 23:00:01.374 UTC [16036] LOG:  ready\n")
    assert _run("logs") == 0
    assert capsys.readouterr().out.splitlines() == [
        "postgres   2026-11-25 23:00:01.374 UTC [16036] LOG:  ready",
        "23:00:02.372 INFO    auth       listening  listen=unix:a",
    ]
    assert _run("logs", "envoy") == 1
    assert "No log of envoy" in capsys.readouterr().err


def test_logs_of_one_request_over_all_processes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "logs").mkdir(parents=True)
    line = '{"time":"2026-11-25T23:00:0%d.000+00:00","message":"rpc","request_id":"%s"}\n'
    (home / "logs" / "auth.log").write_text(line % (2, "wanted") + "no JSON: wanted\n" + line % (3, "other") * 50)
    (home / "logs" / "envoy.log.old").write_text(line % (1, "wanted"))
    (home / "logs" / "envoy.log").write_text("")
    assert _run("logs", "--request", "wanted", "--json") == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["process"], each["request_id"]) for each in shown] == [("envoy", "wanted"), ("auth", "wanted")]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["Nope"], "'Nope' is no RPC of the contract"),
        (["ReceiveEvents"], "is one of azora.education.v1"),
        (["GetWallet", '{"nope": 1}'], "not a GetWalletRequest"),
        (["GetWallet", "--as", "root"], "--as is one of student, educator, admin"),
        (["GetWallet", "--as", "admin", "--target", "localhost:1"], "of the local system alone"),
        (["GetWallet", "--token", "a\nb"], "--token has characters that no header may have"),
        (["GetWallet", "--key", "clé"], "--key has characters that no header may have"),
    ],
)
def test_calls_that_make_no_sense(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("call", *arguments) == 2
    assert reason in capsys.readouterr().err


def test_a_call_that_nobody_answers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("call", "ListCourses", "--target", f"127.0.0.1:{free_port()}") == 1
    assert json.loads(capsys.readouterr().err)["message"].startswith("UNAVAILABLE")
    assert _run("call", "ListCourses") == 1
    assert "Start it with `make run`" in capsys.readouterr().err


def test_failures_in_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("status", "--json") == 1
    assert "Start it with `make run`" in json.loads(capsys.readouterr().err)["error"]


def test_reset_removes_what_is_ours_and_nothing_else(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "auth.log").write_text("")
    (home / "thesis.tex").write_text("")
    assert _run("reset") == 0
    assert [path.name for path in home.iterdir()] == ["thesis.tex"]
    (home / "thesis.tex").unlink()
    assert _run("reset") == 0
    assert not home.exists()
    assert _run("reset") == 0


def test_reset_leaves_a_running_system_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    (home / "seeded").touch()
    with run_lock(lock_path(home)):
        assert _run("reset") == 1
    assert f"kill {os.getpid()}" in capsys.readouterr().err
    assert (home / "seeded").exists()


def test_only_a_running_system_can_be_seeded(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("seed") == 1
    assert "Start it with `make run`" in capsys.readouterr().err


def test_certificates_for_containers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for said in ("new ca, auth", "all certificates are valid"):
        assert _run("pki", str(tmp_path / "pki")) == 0
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "module"),
    [(["serve", "gateway"], ["services.gateway"]), (["migrate", "auth"], ["services.auth", "migrate"])],
)
def test_serve_and_migrate_become_the_service(
    arguments: list[str], module: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    became = []

    def become(program: str, command: list[str]) -> None:
        became.append((program, command))
        raise SystemExit

    monkeypatch.setattr(os, "execv", become)
    _run(*arguments)
    assert became == [(sys.executable, [sys.executable, "-m", *module])]


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "payment.log").write_text("starting\nno such table: wallets\n")
    Report().failure(ProcessFailed(process="payment", what="ended", log=tmp_path / "payment.log"))
    assert capsys.readouterr().err.endswith("  | starting\n  | no such table: wallets\n")


@pytest.mark.parametrize("arguments", [("list",), ("retry", "--all"), ("retry", "--id", "1")])
def test_events_of_a_system_that_does_not_run(
    arguments: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("events", *arguments) == 1
    assert "Start it with `make run`" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("retry",), ("retry", "--all", "--id", "1")])
def test_events_need_to_know_what_to_do(arguments: tuple[str, ...]) -> None:
    assert _run("events", *arguments) == 2


@pytest.mark.parametrize("action", ["list", "retry"])
def test_events_of_a_database_that_does_not_answer(
    action: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", f"postgresql+asyncpg://nobody@/nothing?host={tmp_path}")
    assert _run("events", action, *(["--all"] if action == "retry" else [])) == 1
    assert f"azora events {action}: " in capsys.readouterr().err
