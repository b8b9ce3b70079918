"""The gateway's own process: the health of all parts, reflection over the whole contract, and its pages."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from services.compiler.contract import load_contract
from services.compiler.envoy import LocalSettings, local
from services.deployment.pki import ensure_pki, renew_certificates
from services.gateway.app import build
from services.gateway.settings import GatewaySettings
from tests.support.edge import Replica, running_envoy
from tests.support.http import plain_http
from tests.support.ports import free_port
from tests.support.services import ALL_HEALTHY, SERVICES
from tests.support.serving import Signer, short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

HEALTHY = {"status": "healthy", "services": ALL_HEALTHY}
DEGRADED = {"status": "degraded"}
ALL_UNHEALTHY = {"services": dict.fromkeys(ALL_HEALTHY, "unhealthy")}


@asynccontextmanager
async def gateway(folder: Path, **settings: Any) -> AsyncIterator[dict[str, Replica]]:
    """Serve the gateway in front of stand-ins; give those."""
    parts = {name: Replica(Signer()) for name in load_contract().owners}
    for name, part in parts.items():
        await part.start(folder / f"{name}.sock")
    defaults: dict[str, Any] = {
        "listen": f"unix:{folder}/gateway.sock",
        "http_listen": f"unix:{folder}/http.sock",
        "services": ",".join(f"{name}=unix:{folder}/{name}.sock" for name in parts),
        "env": "development",
        "drain_seconds": 0,
    }
    server = build(GatewaySettings(**(defaults | settings)))
    await server.start()
    try:
        yield parts
    finally:
        await server.stop()
        for part in parts.values():
            await part.server.stop(None)


@asynccontextmanager
async def pages(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=f"{folder}/http.sock")
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        await eventually(lambda: _answers(client, HEALTHY))
        yield client


@asynccontextmanager
async def unready_pages(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.AsyncHTTPTransport(uds=f"{folder}/http.sock")
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def _answers(client: httpx.AsyncClient, expected: dict[str, Any]) -> bool:
    try:
        return bool((await client.get("/health")).json() == expected)
    except httpx.TransportError:
        return False


async def test_it_tells_the_health_of_every_part_and_of_the_whole() -> None:
    async with short_folder() as folder, gateway(folder) as parts, pages(folder) as http:
        assert (await http.get("/health")).json() == HEALTHY

        await parts["payment"].health.set("", NOT_SERVING)
        await eventually(lambda: _answers(http, DEGRADED | {"services": ALL_HEALTHY | {"payment": "unhealthy"}}))
        assert (await http.get("/health")).status_code == 503

        async with aio.insecure_channel(f"unix:{folder}/gateway.sock") as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            listed = (await health.List(health_pb2.HealthListRequest())).statuses  # type: ignore[attr-defined]
            assert listed[""].status == NOT_SERVING
            assert listed["azora.payment.v1.WalletService"].status == NOT_SERVING
            assert listed["azora.auth.v1.AuthService"].status == SERVING
            assert listed["grpc.health.v1.Health"].status == SERVING, "it is well itself"
            assert listed.keys() == {"", *load_contract().names}
            with pytest.raises(aio.AioRpcError) as unknown:
                await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_part_that_is_gone_is_unhealthy_and_well_again_when_it_is_back() -> None:
    async with short_folder() as folder, gateway(folder) as parts, pages(folder) as http:
        await parts["auth"].server.stop(None)
        await eventually(lambda: _answers(http, DEGRADED | {"services": ALL_HEALTHY | {"auth": "unhealthy"}}))
        await parts["auth"].start(folder / "auth.sock")
        await eventually(lambda: _answers(http, HEALTHY))


async def test_healthy_means_that_calls_arrive_through_envoy() -> None:
    async with short_folder() as folder:
        ensure_pki(folder / "pki")
        identity = {
            "tls_certificate": folder / "pki/gateway.crt",
            "tls_key": folder / "pki/gateway.key",
            "tls_authority": folder / "pki/ca.crt",
        }
        mesh = {"mesh_target": f"unix:{folder}/mesh.sock"}
        async with gateway(folder, **mesh, **identity), unready_pages(folder) as http:
            await eventually(lambda: _answers(http, {"status": "degraded"} | ALL_UNHEALTHY))
            runtime = LocalSettings(runtime=folder, pki=folder / "pki", port=free_port())
            (folder / "gateway-http.sock").symlink_to(folder / "http.sock")
            async with running_envoy(local(runtime), folder):
                edge = f"http://127.0.0.1:{runtime.port}"
                async with plain_http(edge) as public:
                    await eventually(lambda: _answers(public, HEALTHY))
                    assert (await public.get("/v1/courses")).status_code == 200
                async with aio.insecure_channel(f"127.0.0.1:{runtime.port}") as channel:
                    request = reflection_pb2.ServerReflectionRequest(list_services="")
                    assert (await reflect_over(channel, "v1", request)).list_services_response.service


async def test_one_replica_that_serves_is_enough() -> None:
    async with short_folder() as folder:
        services = ",".join(f"{name}=unix:{folder}/{name}.sock" for name in load_contract().owners)
        async with gateway(folder, services=f"{services},auth=unix:{folder}/gone.sock"), pages(folder) as http:
            assert (await http.get("/health")).json() == HEALTHY


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_shows_the_whole_contract(version: str) -> None:
    async with short_folder() as folder, gateway(folder):
        names = await reflect(folder, version, reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = [service.name for service in names.list_services_response.service]
        assert sorted(listed) == sorted(load_contract().names)
        for name in listed:
            request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=name)
            described = await reflect(folder, version, request)
            assert described.file_descriptor_response.file_descriptor_proto, name


async def test_reflection_finds_every_symbol_of_a_service() -> None:
    async with short_folder() as folder, gateway(folder):
        for symbol in (
            "azora.education.v1.CourseService.ListCourses",
            "azora.education.v1.CourseService",
            "azora.education.v1.ListCoursesRequest",
            "azora.education.v1.ListCoursesRequest.page_size",
        ):
            request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
            found = (await reflect(folder, "v1", request)).file_descriptor_response.file_descriptor_proto
            assert b"azora/education/v1/course_service.proto" in found[0], symbol
        for symbol in ("azora.education.v1.CourseService.Nothing", "azora.education.v1.Nothing", "Nothing", ""):
            request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
            assert (await reflect(folder, "v1", request)).error_response.error_code == 5, symbol


async def reflect(folder: Path, version: str, request: Any) -> Any:
    async with aio.insecure_channel(f"unix:{folder}/gateway.sock") as channel:
        return await reflect_over(channel, version, request)


async def reflect_over(channel: aio.Channel, version: str, request: Any) -> Any:
    method: Any = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    # Not by `write`, which raises INTERNAL where the call has been refused already.
    return await method(iter([request])).read()


async def test_reflection_is_not_for_production() -> None:
    async with short_folder() as folder, gateway(folder, env="production"):
        with pytest.raises(aio.AioRpcError) as refused:
            await reflect(folder, "v1", reflection_pb2.ServerReflectionRequest(list_services=""))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/health", 405)])
async def test_unknown_pages_are_refused_like_anything_else(method: str, path: str, status: int) -> None:
    async with short_folder() as folder, gateway(folder), pages(folder) as http:
        answer = await http.request(method, path)
        assert answer.status_code == status
        assert answer.json()["details"][0]["reason"] == "ROUTE_NOT_FOUND"


async def test_sockets_are_for_this_user_alone() -> None:
    async with short_folder() as folder, gateway(folder), pages(folder):
        assert {(folder / name).stat().st_mode & 0o777 for name in ("gateway.sock", "http.sock")} == {0o600}


async def test_over_tcp_all_is_mutual_tls() -> None:
    async with short_folder() as folder:
        ensure_pki(folder / "pki")
        identity = {
            "tls_certificate": folder / "pki/gateway.crt",
            "tls_key": folder / "pki/gateway.key",
            "tls_authority": folder / "pki/ca.crt",
        }
        port, auth_port = free_port(), free_port()
        auth = Replica(Signer())
        await auth.start(folder / "auth-over-tcp.sock", folder / "pki", auth_port)
        rest = ",".join(f"{name}=unix:{folder}/{name}.sock" for name in SERVICES if name != "auth")
        over_tcp = {"http_listen": f"127.0.0.1:{port}", "services": f"auth=localhost:{auth_port},{rest}"}
        context = ssl.create_default_context(cafile=str(folder / "pki/ca.crt"))
        async with gateway(folder, **over_tcp, **identity):
            async with httpx.AsyncClient(verify=context, base_url=f"https://localhost:{port}") as stranger:
                with pytest.raises(httpx.TransportError):
                    await stranger.get("/health")
            context.load_cert_chain(folder / "pki/envoy.crt", folder / "pki/envoy.key")
            async with httpx.AsyncClient(verify=context, base_url=f"https://localhost:{port}") as envoy:
                await eventually(lambda: _answers(envoy, HEALTHY))
            await _renewed_while_it_runs(folder / "pki", port, context)
            await _members_of_a_replaced_authority_are_refused(folder / "pki", port, context)
        await auth.server.stop(None)


async def _renewed_while_it_runs(pki: Path, port: int, context: ssl.SSLContext) -> None:
    """Renew all certificates, and wait until new connections are given the gateway's new one."""
    before = await _certificate(port, context)
    renew_certificates(pki, lifetime=timedelta(hours=1))

    async def is_new() -> bool:
        return await _certificate(port, context) != before

    await eventually(is_new)


async def _members_of_a_replaced_authority_are_refused(pki: Path, port: int, former: ssl.SSLContext) -> None:
    """Have them refused at once: a TLS context trusts every authority that was ever loaded into it."""
    ensure_pki(pki / "other")
    for name in ("ca.crt", "gateway.key", "gateway.crt"):
        (pki / "other" / name).replace(pki / name)
    newest = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    newest.load_cert_chain(pki / "other/envoy.crt", pki / "other/envoy.key")
    former.load_verify_locations(pki / "ca.crt")

    async def answers(context: ssl.SSLContext) -> bool:
        async with httpx.AsyncClient(verify=context, base_url=f"https://localhost:{port}") as http:
            try:
                return (await http.get("/openapi.json")).status_code == HTTPStatus.OK
            except httpx.TransportError:
                return False

    await eventually(lambda: answers(newest))
    assert not await answers(former)


async def _certificate(port: int, context: ssl.SSLContext) -> bytes | None:
    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    certificate: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate
