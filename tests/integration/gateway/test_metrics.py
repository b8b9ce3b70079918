"""One page for the metrics of all processes, and who may collect them."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from azora.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from grpc import aio
from prometheus_client.parser import text_string_to_metric_families

from interceptors import chain
from interceptors.rate_limit import Limiter
from services.deployment.pki import ensure_pki
from services.gateway import replicas
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from services.shared.metrics import ProcessMetrics
from services.shared.policy import METRICS
from services.shared.server import Registration, Server
from services.shared.settings import Environment, ServerSettings
from tests.support.ports import free_port
from tests.support.services import SERVICES
from tests.support.serving import Signer, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LOGIN = "azora.auth.v1.AuthService/Login"


class Accounts(auth_service_pb2_grpc.AuthServiceServicer):
    async def Login(self, request: Any, context: Any) -> auth_service_pb2.LoginResponse:
        return auth_service_pb2.LoginResponse()


async def always() -> bool:
    return True


def identity_of(pki: Path, name: str) -> dict[str, Path]:
    """Return the settings of a process with this identity."""
    return {"tls_certificate": pki / f"{name}.crt", "tls_key": pki / f"{name}.key", "tls_authority": pki / "ca.crt"}


@asynccontextmanager
async def replica(listen: str, **tls: Any) -> AsyncIterator[None]:
    """Serve Login behind the real chain, with the metrics of a process."""
    metrics = ProcessMetrics()
    limiter = Limiter(registry=metrics.registry)
    server = Server(
        ServerSettings(listen=listen, env=Environment.DEVELOPMENT, drain_seconds=0, **tls),
        partial(chain, verifier=Signer().verifier(), limiter=limiter, registry=metrics.registry),
        [Registration.of(Accounts())],
        always,
        metrics=metrics.text,
    )
    await server.start()
    try:
        yield
    finally:
        await server.stop()


@asynccontextmanager
async def page(folder: Path, services: str, **tls: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the gateway's page on a unix socket."""
    settings = GatewaySettings(
        listen=f"unix:{folder}/gateway.sock",
        http_listen=f"unix:{folder}/http.sock",
        metrics_listen=f"unix:{folder}/metrics.sock",
        services=services,  # type: ignore[arg-type] # As the environment has it.
        env=Environment.DEVELOPMENT,
        drain_seconds=0,
        **tls,
    )
    server = build(settings)
    await server.start()
    try:
        transport = httpx.AsyncHTTPTransport(uds=f"{folder}/metrics.sock")
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield client
    finally:
        await server.stop()


async def samples(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    async def answered() -> httpx.Response | None:
        try:
            return await client.get("/metrics")
        except httpx.TransportError:
            return None

    answer = await eventually(answered)
    assert answer
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = list(text_string_to_metric_families(answer.text))
    assert len({family.name for family in families}) == len(families), "each family stands once"
    found = [sample for family in families for sample in family.samples]
    assert all({"service", "replica"} <= sample.labels.keys() for sample in found)
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in found}


async def test_the_page_has_the_counts_of_every_replica_and_says_who_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with short_folder() as folder, AsyncExitStack() as stack:
        for name in ("auth", "auth-1"):
            await stack.enter_async_context(replica(f"unix:{folder}/{name}.sock"))
        services = ",".join(f"{name}=unix:{folder}/{name}.sock" for name in SERVICES)
        client = await stack.enter_async_context(page(folder, f"{services},auth=unix:{folder}/auth-1.sock"))
        async with aio.insecure_channel(f"unix:{folder}/auth-1.sock") as channel:
            login = auth_service_pb2_grpc.AuthServiceStub(channel).Login
            await login(auth_service_pb2.LoginRequest(email="somebody@azora.world", password="x"))
        found = await samples(client)
        assert found["azora_rpc_duration_seconds_count", "OK", LOGIN, "1", "auth"] == 1
        assert ("azora_rpc_duration_seconds_count", "OK", LOGIN, "0", "auth") not in found
        assert [found["azora_up", number, "auth"] for number in "01"] == [1, 1]
        assert found["azora_up", "0", "payment"] == 0
        assert found["azora_up", "0", "gateway"] == 1
        assert ("process_resident_memory_bytes", "1", "auth") in found
        assert await samples(client)
        silent = [vars(record)["target"] for record in caplog.records if record.message == "metrics not collected"]
        # All are asked at once: which one fails first says nothing.
        assert sorted(silent) == sorted(set(SERVICES) - {"auth"}), "logged once, however often it is asked"


async def test_a_host_name_is_as_many_replicas_as_it_has_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    port, addresses = free_port(), ["127.0.0.1", "127.0.0.2"]

    async def getaddrinfo(host: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        assert host == "auth"
        if not addresses:
            raise socket.gaierror(socket.EAI_AGAIN, "try again later")
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)), *found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(replicas, "RESOLVE_SECONDS", 0)
    async with short_folder() as folder, AsyncExitStack() as stack:
        ensure_pki(folder / "pki")
        auth, gateway = (identity_of(folder / "pki", name) for name in ("auth", "gateway"))
        first = await stack.enter_async_context(AsyncExitStack())
        await first.enter_async_context(replica(f"127.0.0.1:{port}", **auth))
        for address in ("127.0.0.2", "127.0.0.3"):
            await stack.enter_async_context(replica(f"{address}:{port}", **auth))
        others = ",".join(f"{name}=unix:{folder}/{name}.sock" for name in SERVICES if name != "auth")
        client = await stack.enter_async_context(page(folder, f"auth=auth:{port},{others}", **gateway))

        async def up() -> dict[str, float]:
            found = await samples(client)
            return {
                number: value for (name, number, *of), value in found.items() if (name, *of) == ("azora_up", "auth")
            }

        async def are(expected: dict[str, float]) -> bool:
            return await up() == expected

        await eventually(lambda: are({"0": 1, "1": 1}))
        start = (await samples(client))["process_start_time_seconds", "1", "auth"]
        await first.aclose()
        await eventually(lambda: are({"0": 0, "1": 1}))
        addresses[:] = ["127.0.0.2"]
        await eventually(lambda: are({"1": 1}))
        addresses[:] = ["127.0.0.2", "127.0.0.3"]
        await eventually(lambda: are({"0": 1, "1": 1}))
        addresses.clear()
        assert (await samples(client))["process_start_time_seconds", "1", "auth"] == start
        assert await up() == {"0": 1, "1": 1}, "names that are not told are those that they were"


async def test_the_pages_that_envoy_leads_to_have_no_metrics() -> None:
    async with short_folder() as folder:
        services = ",".join(f"{name}=unix:{folder}/{name}.sock" for name in SERVICES)
        async with page(folder, services) as client:
            await samples(client)
            transport = httpx.AsyncHTTPTransport(uds=f"{folder}/http.sock")
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as public:
                assert (await public.get("/metrics")).status_code == 404


@pytest.mark.parametrize(
    ("caller", "code"), [("gateway", None), ("envoy", "PERMISSION_DENIED"), ("education", "PERMISSION_DENIED")]
)
async def test_over_tcp_metrics_are_for_the_gateway_alone(caller: str, code: str | None) -> None:
    async with short_folder() as folder:
        pki, port = folder / "pki", free_port()
        ensure_pki(pki)
        identity = [(pki / name).read_bytes() for name in ("ca.crt", f"{caller}.key", f"{caller}.crt")]
        async with (
            replica(f"localhost:{port}", **identity_of(pki, "auth")),
            aio.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(*identity)) as channel,
        ):
            call: Any = channel.unary_unary(METRICS)
            if code is None:
                assert b"process_cpu_seconds_total" in await call(b"")
            else:
                with pytest.raises(aio.AioRpcError) as refused:
                    await call(b"")
                assert refused.value.code().name == code
