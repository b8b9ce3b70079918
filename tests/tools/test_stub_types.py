"""The types of the stubs' distribution, to mypy and pyright in an environment that has nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

UV = Path(sys.executable).with_name("uv")
GENERATED = Path(__file__).parents[2] / "generated"
BLOCKS = re.findall(r"```python\n(.*?)```", (GENERATED / "README.md").read_text(), re.DOTALL)
USES = """
from __future__ import annotations

from typing import assert_type

import grpc
from azora import client
from azora.client import blocking
from azora.payment.v1 import wallet_service_pb2 as pb, wallet_service_pb2_grpc


async def call(channel: grpc.aio.Channel) -> str:
    stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
    try:
        answer = await stub.GetWallet(pb.GetWalletRequest(), metadata=client.bearer("t"), timeout=1.0)
        assert_type(answer, pb.GetWalletResponse)
        async for each in stub.WatchTransactions(pb.WatchTransactionsRequest()):
            assert_type(each, pb.WatchTransactionsResponse)
    except client.CallError as error:
        assert_type(error.code(), grpc.StatusCode)
        assert_type(error.retry_after_seconds, float | None)
        return error.reason
    return answer.wallet.id


def block() -> str:
    with blocking.connect(["10.0.0.1:1", "10.0.0.2:1"], proxy=True) as channel, blocking.scope(timeout_seconds=1):
        assert_type(channel, grpc.Channel)
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        answer = stub.GetWallet(pb.GetWalletRequest())
        assert_type(answer, pb.GetWalletResponse)
        for each in stub.WatchTransactions(pb.WatchTransactionsRequest()):
            assert_type(each, pb.WatchTransactionsResponse)
        return answer.wallet.id


async def connect() -> str:
    async with client.connect("localhost:1", tls=True) as channel:
        assert_type(channel, grpc.aio.Channel)
        with client.scope(timeout_seconds=1, metadata=client.bearer("t")):
            return await call(channel)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("types")
    _run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv")
    checkers = ("mypy", "pyright[nodejs]")
    _run(UV, "pip", "install", "--quiet", "--python", folder / "venv/bin/python", GENERATED, *checkers)
    for name, source in _sources():
        (folder / name).write_text(source)
    return folder


def _sources() -> Iterator[tuple[str, str]]:
    yield "uses.py", USES
    for number, block in enumerate(BLOCKS):
        if "import" in block:  # A module, not an excerpt of one.
            yield f"readme_{number}.py", block


def test_mypy_knows_all_types(folder: Path) -> None:
    names = [name for name, _ in _sources()]
    checks = ("--strict", "--disallow-any-expr", "--python-executable", folder / "venv/bin/python")
    assert "Success" in _run(folder / "venv/bin/mypy", *checks, *names, folder=folder)


def test_pyright_knows_all_types(folder: Path) -> None:
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "venvPath": ".", "venv": "venv"}')
    assert "0 errors" in _run(folder / "venv/bin/pyright", folder=folder)


def _run(*arguments: str | Path, folder: Path | None = None) -> str:
    done = subprocess.run(  # noqa: S603 - ours
        arguments, cwd=folder, check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
