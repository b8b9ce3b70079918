"""How azora.client connects: targets, addresses in turn, proxies, a server that comes back, retries of the contract."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import pytest
from azora import client
from azora.auth.v1 import token_service_pb2
from azora.client import _dialing, blocking
from azora.client._dialing import MAX_BACKOFF_MILLISECONDS, address
from azora.payment.v1 import wallet_service_pb2 as pb
from azora.payment.v1 import wallet_service_pb2_grpc
from grpc import aio

from services.shared.errors import DependencyUnavailable
from tests.support.answering import Answering, answering, serve
from tests.support.listening import listening
from tests.support.ports import free_port
from tests.support.serving import short_folder
from tests.support.waiting import eventually


async def get_wallet(channel: aio.Channel) -> None:
    await wallet_service_pb2_grpc.WalletServiceStub(channel).GetWallet(pb.GetWalletRequest())


@pytest.mark.parametrize("name", ["127.0.0.1:{}", "localhost:{}", "dns:///localhost:{}", "ipv4:127.0.0.1:{}"])
async def test_a_target_is_what_grpc_takes_for_one(name: str) -> None:
    target = name.format(free_port())
    async with serve(Answering(), target.rpartition("/")[2].removeprefix("ipv4:")), client.connect(target) as channel:
        await get_wallet(channel)


async def test_the_addresses_of_a_list_take_turns_and_stand_in_for_each_other() -> None:
    targets = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(serve(Answering(), targets[0]))
        channel = await stack.enter_async_context(client.connect(targets))
        async with serve(Answering(), targets[1]) as second:

            async def both() -> bool:
                await get_wallet(channel)
                return bool(first.received and second.received)

            await eventually(both)
            for server in (first, second):
                server.received.clear()
            for _ in range(10):
                await get_wallet(channel)
            assert (len(first.received), len(second.received)) == (5, 5)
        for _ in range(10):
            await get_wallet(channel)
        assert len(first.received) == 15


async def test_a_list_of_sockets_works_as_well() -> None:
    async with (
        short_folder() as folder,
        serve(Answering(), f"unix:{folder}/b"),
        client.connect([f"unix:{folder}/a", f"unix:{folder}/b"]) as channel,
    ):
        await get_wallet(channel)


def test_a_list_of_ipv6_addresses_is_one_target() -> None:
    assert address(["[::1]:1", "[::2]:2"]) == "ipv6:[::1]:1,[::2]:2"


@pytest.mark.parametrize("targets", [[], ["azora.example.com:443"], ["127.0.0.1:1", "unix:/a"], ["127.0.0.1:1", "a:1"]])
def test_a_list_of_anything_else_is_refused(targets: list[str]) -> None:
    with pytest.raises(ValueError, match="IP addresses or unix sockets"):
        client.connect(targets)


async def test_proxies_are_obeyed_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")  # Nobody is there.
    target = f"127.0.0.1:{free_port()}"
    async with serve(Answering(), target):
        async with client.connect(target) as channel:
            await get_wallet(channel)
        async with client.connect(target, proxy=True) as channel:
            with pytest.raises(client.CallError) as caught:
                await get_wallet(channel)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_comes_back_is_found_within_the_bound() -> None:
    target = f"127.0.0.1:{free_port()}"
    async with client.connect(target) as channel:
        async with serve(Answering(), target):
            await get_wallet(channel)
        began = time.monotonic()

        async def backed_off() -> bool:
            return time.monotonic() - began > 2 * MAX_BACKOFF_MILLISECONDS / 1000

        await eventually(backed_off)
        with pytest.raises(client.CallError):
            await get_wallet(channel)
        async with serve(Answering(), target), asyncio.timeout(1.2 * MAX_BACKOFF_MILLISECONDS / 1000 + 0.5):
            stub = wallet_service_pb2_grpc.WalletServiceStub(channel)
            await stub.GetWallet(pb.GetWalletRequest(), wait_for_ready=True)


@pytest.mark.parametrize(("retries", "attempts"), [(True, 3), (False, 1)])
async def test_retries_can_be_left_to_somebody_else(retries: bool, attempts: int) -> None:
    async with (
        answering(DependencyUnavailable()) as (target, handler),
        client.connect(target, retries=retries) as channel,
    ):
        with pytest.raises(client.CallError) as caught:
            await get_wallet(channel)
    assert (caught.value.reason, len(handler.received)) == ("DEPENDENCY_UNAVAILABLE", attempts)


async def test_a_server_that_asks_not_to_be_asked_again_is_obeyed() -> None:
    async with answering(DependencyUnavailable()) as (target, handler), client.connect(target) as channel:
        handler.trailers = (("grpc-retry-pushback-ms", "-1"),)
        with pytest.raises(client.CallError):
            await get_wallet(channel)
    assert len(handler.received) == 1


async def test_keys_of_tokens_are_given_to_both_kinds_of_stubs() -> None:
    def signing_keys(target: str) -> list[dict[str, str]]:
        with blocking.connect(target) as channel:
            return blocking.signing_keys(channel)

    answer = token_service_pb2.GetJwksResponse(keys=[token_service_pb2.Jwk(kid="k", kty="EC")])
    async with answering() as (target, handler), client.connect(target) as channel:
        handler.message = answer.SerializeToString()
        assert await client.signing_keys(channel) == [{"kid": "k", "kty": "EC"}]
        assert await asyncio.to_thread(signing_keys, target) == [{"kid": "k", "kty": "EC"}]


@dataclass(slots=True)
class SilentProxy:
    """Passes bytes on until it is silent, and keeps its connections open."""

    target_port: int
    silent: bool = False

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, to_server))
                group.create_task(self._pass_on(from_server, writer))
        finally:
            to_server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.silent:
                writer.write(data)
        writer.close()


async def test_a_server_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dialing, "KEEPALIVE_MILLISECONDS", 200)
    monkeypatch.setattr(_dialing, "KEEPALIVE_TIMEOUT_MILLISECONDS", 200)
    port = free_port()
    proxy, begun = SilentProxy(port), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with (
        serve(Answering(answer=wait), f"127.0.0.1:{port}"),
        listening(proxy.relay) as through,
        client.connect(f"127.0.0.1:{through}") as channel,
    ):
        call = wallet_service_pb2_grpc.WalletServiceStub(channel).WatchTransactions(pb.WatchTransactionsRequest())
        await begun.wait()
        proxy.silent = True
        async with asyncio.timeout(10):
            with pytest.raises(client.CallError, match="UNAVAILABLE"):
                await anext(aiter(call))
