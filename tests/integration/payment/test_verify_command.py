"""`azora verify`: exit code 0 for an intact ledger; 1 and what is wrong for any other."""

from __future__ import annotations

import asyncio
import io
import re
from typing import TYPE_CHECKING

import pytest
from azora.payment.v1 import payment_service_pb2 as pb

from services.cli.__main__ import main
from services.payment.proofs.publication import CheckpointFile
from tests.support.payment import azr
from tests.support.tampering import tamper
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.payment import RunningPayment


async def azora_verify(*arguments: str) -> int:
    """Run the command in a thread, and return its exit code."""

    def run() -> int:
        with pytest.raises(SystemExit) as ended:
            main(["verify", *arguments])
        return int(str(ended.value.code))

    return await asyncio.to_thread(run)


async def test_the_database_is_verified_without_the_service(
    payment: RunningPayment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", payment.app_url)
    payment.replica.checkpoints._file = CheckpointFile(tmp_path / "checkpoints")
    await payment.rich(10)
    await payment.replica.checkpoints.create_checkpoint()
    assert await azora_verify("--checkpoints", str(tmp_path / "checkpoints")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "verified 2 accounts and 2 entries, checkpoint 1",
        f"compared 1 checkpoints of {tmp_path / 'checkpoints'}",
        "the ledger is intact",
        f"verified 0 audit events of {payment.app_url.partition('@/')[2].partition('?')[0]}, last seal none",
        "the audit logs are intact",
    ]
    await tamper(payment, "UPDATE accounts SET posted = posted + 1 WHERE kind = 'WALLET'")
    assert await azora_verify() == 1
    assert "its posted balance is not that of its last entry" in capsys.readouterr().out
    await tamper(payment, "UPDATE accounts SET posted = posted - 1 WHERE kind = 'WALLET'")
    await tamper(payment, "DELETE FROM checkpoint_heads", "DELETE FROM checkpoints")
    assert await azora_verify() == 0
    assert await azora_verify("--checkpoints", str(tmp_path / "checkpoints")) == 1
    assert "CHECKPOINT_MISMATCH checkpoints/1: it is missing in the database" in capsys.readouterr().out


async def test_the_ledger_is_verified_over_the_api(
    payment: RunningPayment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    payment.replica.checkpoints._file = CheckpointFile(tmp_path / "checkpoints")
    await payment.rich(10)
    await payment.replica.checkpoints.create_checkpoint()
    options = ("--only", "ledger", "--target", payment.target, "--checkpoints", str(tmp_path / "checkpoints"))

    async def verify_as(role: str) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{payment.signer.token(role=role)}\n"))
        return await azora_verify(*options)

    assert await verify_as("ROLE_ADMIN") == 0
    assert "the ledger is intact" in capsys.readouterr().out
    assert await verify_as("ROLE_STUDENT") == 1
    assert "PERMISSION_DENIED" in capsys.readouterr().err
    await tamper(payment, "UPDATE accounts SET head = sha256(head) WHERE kind = 'WALLET'")
    assert await verify_as("ROLE_ADMIN") == 1
    assert "ACCOUNT_MISMATCH accounts/" in capsys.readouterr().out


async def test_a_database_that_does_not_answer_is_not_verified(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", "postgresql+asyncpg://payment_app@/payment?host=/nowhere")
    assert await azora_verify() == 1
    assert capsys.readouterr().err.startswith("azora verify: ")


async def test_a_changed_audit_event_is_found(
    payment: RunningPayment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AZORA_DATABASE_URL", payment.app_url)
    person, admin = await payment.rich(10), payment.admin()
    request = pb.EarnRequest(user_id=person.id, amount=azr(5), reference="welcome")
    await payment.payments.Earn(request, metadata=admin.metadata)

    async def sealed() -> bool:
        return bool(await payment.sql("SELECT FROM audit_seals"))

    await eventually(sealed)
    assert await azora_verify("--only", "audit") == 0
    output = capsys.readouterr().out
    assert "verified 1 audit events" in output
    (seal,) = re.findall(r"--after-seal (\S+)", output)
    assert await azora_verify("--only", "audit", "--after-seal", seal) == 0
    assert "verified 0 audit events" in capsys.readouterr().out
    replaced = seal[:-64] + "0" * 64
    assert await azora_verify("--only", "audit", "--after-seal", replaced) == 1
    assert "it is not the seal that was verified before" in capsys.readouterr().out
    await tamper(payment, "UPDATE audit_events SET user_id = target_id FROM (SELECT uuidv7() AS target_id) other")
    assert await azora_verify("--only", "ledger") == 0
    assert await azora_verify() == 1
    output = capsys.readouterr().out
    assert "/auditSeals/1: its events are not those that it sealed" in output
    assert "the ledger is intact" in output
