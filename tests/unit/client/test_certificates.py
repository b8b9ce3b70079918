"""Certificates of azora.client's channels: whom they trust, who they are, and what happens when they are renewed."""

from __future__ import annotations

import asyncio
import errno
import gc
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from azora import client
from azora.client import _dialing, _renewal, blocking
from azora.payment.v1 import wallet_service_pb2 as pb
from azora.payment.v1 import wallet_service_pb2_grpc

from services.deployment.pki import ensure_pki
from tests.support.answering import Answering, serve
from tests.support.certificates import issue, serial_number
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from azora.client import MeshIdentity
    from grpc import aio


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    ensure_pki(tmp_path / "pki", ["envoy"])
    return tmp_path / "pki"


@pytest.fixture
def identity(pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeshIdentity:
    monkeypatch.setattr(_renewal, "LOOK_SECONDS", 0.0)
    return issue(pki, tmp_path, "education")


@asynccontextmanager
async def serving(pki: Path, *, mutual: bool = True) -> AsyncIterator[tuple[str, Answering]]:
    pair = ((pki / "envoy.key").read_bytes(), (pki / "envoy.crt").read_bytes())
    authority = (pki / "ca.crt").read_bytes() if mutual else None
    target = f"127.0.0.1:{free_port()}"
    async with serve(Answering(), target, grpc.ssl_server_credentials([pair], authority, mutual)) as handler:
        yield target, handler


async def get_wallet(channel: aio.Channel) -> None:
    await wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(pb.GetWalletRequest())


async def test_an_authority_of_ones_own_is_trusted_and_no_other(pki: Path, tmp_path: Path) -> None:
    ensure_pki(tmp_path / "other", ["envoy"])
    authorities: list[dict[str, Any]] = [{"authority": tmp_path / "other/ca.crt"}, {"tls": True}]
    async with serving(pki, mutual=False) as (target, handler):
        async with client.connect(target, authority=pki / "ca.crt", server_name="localhost") as channel:
            await get_wallet(channel)
        for options in (*authorities, {"authority": pki / "ca.crt", "server_name": "azora.example.com"}):
            async with client.connect(target, **({"server_name": "localhost"} | options)) as channel:
                with pytest.raises(client.CallError) as caught:
                    await get_wallet(channel)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(handler.received) == 1


async def test_a_renewed_certificate_is_used_by_the_stubs_that_there_are(
    pki: Path, tmp_path: Path, identity: MeshIdentity
) -> None:
    serials = [serial_number(identity.certificate)]
    async with serving(pki) as (target, handler), client.connect(target, identity=identity) as channel:
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        await stub.GetWallet(pb.GetWalletRequest())
        issue(pki, tmp_path, "education")
        serials.append(serial_number(identity.certificate))
        await stub.GetWallet(pb.GetWalletRequest())
        await stub.GetWallet(pb.GetWalletRequest())
    assert [call.certificate for call in handler.received] == [*serials, serials[1]]


async def test_calls_that_run_end_well_and_the_former_channel_goes_with_them(
    pki: Path, tmp_path: Path, identity: MeshIdentity
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await may_end.wait()

    async with serving(pki) as (target, handler), client.connect(target, identity=identity) as channel:
        assert isinstance(channel, _renewal.RenewingChannel)
        former = weakref.ref(channel.newest)
        handler.answer = wait
        stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
        running, stream = stub.GetWallet(pb.GetWalletRequest()), stub.WatchTransactions(pb.WatchTransactionsRequest())
        await begun.wait()
        issue(pki, tmp_path, "education")
        handler.answer = None
        await stub.GetWallet(pb.GetWalletRequest())
        gc.collect()
        assert former() not in (None, channel.newest)
        may_end.set()
        assert await running == pb.GetWalletResponse()
        assert len([each async for each in stream]) == 3
        del running, stream
        gc.collect()
        assert former() is None


async def test_a_blocking_channel_does_the_same(pki: Path, tmp_path: Path, identity: MeshIdentity) -> None:
    may_end = asyncio.Event()
    first = serial_number(identity.certificate)

    def call(target: str, loop: asyncio.AbstractEventLoop) -> None:
        with blocking.connect(target, identity=identity) as channel:
            assert isinstance(channel, _renewal.RenewingBlockingChannel)
            former = weakref.ref(channel.newest)
            stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
            stub.GetWallet(pb.GetWalletRequest())
            running = stub.GetWallet.future(pb.GetWalletRequest())
            stream = stub.WatchTransactions(pb.WatchTransactionsRequest())
            issue(pki, tmp_path, "education")
            stub.ListTransactions(pb.ListTransactionsRequest())
            loop.call_soon_threadsafe(may_end.set)
            assert running.result() == pb.GetWalletResponse()
            assert len(list(stream)) == 3
            del running, stream
            gc.collect()
            assert former() is None

    async with serving(pki) as (target, handler):

        async def wait() -> None:
            if len(handler.received) > 1 and handler.received[-1].certificate == first:
                await may_end.wait()

        handler.answer = wait
        await asyncio.to_thread(call, target, asyncio.get_running_loop())
    certificates = {each.method.rpartition("/")[2]: each.certificate for each in handler.received}
    assert certificates["WatchTransactions"] == first
    assert certificates["ListTransactions"] == serial_number(identity.certificate) != first


async def test_a_certificate_without_its_key_waits_for_it(
    pki: Path, tmp_path: Path, identity: MeshIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    first = serial_number(identity.certificate)
    (tmp_path / "new").mkdir()
    renewed = issue(pki, tmp_path / "new", "education")
    async with serving(pki) as (target, handler), client.connect(target, identity=identity) as channel:
        renewed.certificate.replace(identity.certificate)
        await get_wallet(channel)
        await get_wallet(channel)
        renewed.key.replace(identity.key)
        await get_wallet(channel)
        identity.key.unlink()
        await get_wallet(channel)
    second = serial_number(identity.certificate)
    assert [call.certificate for call in handler.received] == [first, first, second, second]
    warnings = [record for record in caplog.records if record.name == "azora.client"]
    assert len(warnings) == 2, "one for each state of the files"


async def test_a_certificate_that_could_not_be_read_once_is_read_again(
    pki: Path, tmp_path: Path, identity: MeshIdentity, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def out_of_files(_files: object) -> grpc.ChannelCredentials:
        raise OSError(errno.EMFILE, "Too many open files")

    serials = [serial_number(identity.certificate)] * 2
    async with serving(pki) as (target, handler), client.connect(target, identity=identity) as channel:
        issue(pki, tmp_path, "education")
        with monkeypatch.context() as patch:
            patch.setattr(_dialing, "read_pem", out_of_files)
            await get_wallet(channel)
            await get_wallet(channel)
        serials.append(serial_number(identity.certificate))
        await get_wallet(channel)
    assert [call.certificate for call in handler.received] == serials
    assert len([record for record in caplog.records if record.name == "azora.client"]) == 1


async def test_a_closed_channel_ends_calls_of_former_certificates(
    pki: Path, tmp_path: Path, identity: MeshIdentity
) -> None:
    async with serving(pki) as (target, handler):
        begun = asyncio.Event()

        async def wait() -> None:
            begun.set()
            await asyncio.Event().wait()

        async with client.connect(target, identity=identity) as channel:
            handler.answer = wait
            stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
            running = stub.GetWallet(pb.GetWalletRequest())
            await begun.wait()
            issue(pki, tmp_path, "education")
            handler.answer = None
            await stub.GetWallet(pb.GetWalletRequest())
        assert await running.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("missing", ["certificate", "key", "authority"])
def test_files_that_are_missing_are_an_error_at_once(identity: MeshIdentity, missing: str) -> None:
    getattr(identity, missing).unlink()
    with pytest.raises(FileNotFoundError):
        blocking.connect("127.0.0.1:1", identity=identity)


def test_files_that_do_not_belong_together_are_an_error_at_once(
    pki: Path, tmp_path: Path, identity: MeshIdentity
) -> None:
    former = identity.key.read_bytes()
    issue(pki, tmp_path, "education")
    identity.key.write_bytes(former)
    with pytest.raises(OSError, match="KEY_VALUES_MISMATCH"):
        blocking.connect("127.0.0.1:1", identity=identity)
    identity.authority.write_text("not a certificate")
    with pytest.raises(OSError, match=r"PEM|certificate"):
        blocking.connect("127.0.0.1:1", authority=identity.authority)
