"""The public port with a certificate: HTTP/2 and HTTP/1.1 over TLS, and nothing older or in plain text."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
import pytest_asyncio
from grpc import aio

from services.compiler.envoy import Certificate, LocalSettings, local
from services.deployment.pki import ensure_pki
from tests.support import http2
from tests.support.compose import containers
from tests.support.edge import Edge, running_edge, running_envoy
from tests.support.http import plain_http
from tests.support.ports import accepts, free_port
from tests.support.serving import short_folder
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIST = "/azora.education.v1.CourseService/ListCourses"
NAME = "envoy"
"""A name in the certificate."""
CHECK = containers()["envoy"]["healthcheck"]["test"][1:]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def secured() -> AsyncIterator[tuple[Edge, ssl.SSLContext, bytes]]:
    """Run an edge with a certificate; give it with what a client trusts."""
    async with short_folder() as folder:
        ensure_pki(folder)
        certificate = Certificate(f"{folder}/{NAME}.crt", f"{folder}/{NAME}.key")
        async with running_edge(public_certificate=certificate) as edge:
            yield edge, ssl.create_default_context(cafile=f"{folder}/ca.crt"), (folder / "ca.crt").read_bytes()


async def spoken(edge: Edge, context: ssl.SSLContext) -> ssl.SSLObject:
    """Return what the edge agrees to. Raises ssl.SSLError."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", edge.profile.public.port, ssl=context, server_hostname=NAME, ssl_handshake_timeout=5
    )
    agreed: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return agreed


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)])
async def test_clients_choose_their_protocol(
    secured: tuple[Edge, ssl.SSLContext, bytes], version: ssl.TLSVersion, offered: list[str], chosen: str | None
) -> None:
    edge, _, authority = secured
    context = ssl.create_default_context(cadata=authority.decode())
    context.minimum_version = context.maximum_version = version
    if offered:
        context.set_alpn_protocols(offered)
    agreed = await spoken(edge, context)
    assert (agreed.version(), agreed.selected_alpn_protocol()) == (version.name.replace("_", "."), chosen)
    cipher, _, bits = agreed.cipher() or ("", "", 0)
    assert "GCM" in cipher or "POLY1305" in cipher
    assert bits >= 128


@pytest.mark.parametrize(
    "ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384", "DHE-RSA-AES128-GCM-SHA256"]
)
async def test_weak_ciphers_are_refused(secured: tuple[Edge, ssl.SSLContext, bytes], ciphers: str) -> None:
    """No static RSA, no CBC, no finite-field groups (RFC 9325 section 4.2)."""
    edge, _, authority = secured
    context = ssl.create_default_context(cadata=authority.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await spoken(edge, context)


async def test_versions_before_1_2_are_refused(secured: tuple[Edge, ssl.SSLContext, bytes]) -> None:
    edge, _, authority = secured
    context = ssl.create_default_context(cadata=authority.decode())
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await spoken(edge, context)


async def test_json_and_grpc_arrive_and_browsers_are_told_to_stay(
    secured: tuple[Edge, ssl.SSLContext, bytes],
) -> None:
    edge, context, authority = secured
    port = edge.profile.public.port
    async with httpx.AsyncClient(verify=context) as http:
        answer = await http.get(
            f"https://127.0.0.1:{port}/v1/courses", extensions={"sni_hostname": NAME}, headers={"host": NAME}
        )
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    credentials = grpc.ssl_channel_credentials(authority)
    options = [("grpc.ssl_target_name_override", NAME)]
    async with aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        await channel.unary_unary(LIST)(b"", timeout=5)  # type: ignore[arg-type]


async def test_plain_text_and_half_a_handshake_end_soon(secured: tuple[Edge, ssl.SSLContext, bytes]) -> None:
    edge, _, _ = secured
    edge.forget()
    plain = b"GET /v1/courses HTTP/1.1\r\nhost: localhost\r\n\r\n"
    sent = (plain, http2.PREFACE, b"\x16\x03\x01\x00", b"")
    answers = await asyncio.wait_for(asyncio.gather(*(answered(edge, content) for content in sent)), 8)
    assert not any(b"HTTP" in answer for answer in answers)
    assert not edge.received("education")


async def test_the_health_check_of_its_container_needs_no_tls_and_gets_nothing_else() -> None:
    async with short_folder() as folder:
        ensure_pki(folder / "pki")
        certificate = Certificate(f"{folder}/pki/{NAME}.crt", f"{folder}/pki/{NAME}.key")
        settings = LocalSettings(runtime=folder, pki=folder / "pki", port=free_port(), public_certificate=certificate)
        profile = replace(local(settings), plain_health=True)
        pages = await asyncio.start_unix_server(healthy, folder / "gateway-http.sock")
        async with pages, running_envoy(profile, folder), plain_http() as http:
            await eventually(partial(accepts, profile.public.port))
            url = f"http://127.0.0.1:{profile.public.port}"
            assert (await http.get(f"{url}/v1/courses")).status_code == 404
            check = [word.replace("8080", str(profile.public.port)) for word in CHECK]
            process = await asyncio.create_subprocess_exec(*check)
            assert await asyncio.wait_for(process.wait(), 5) == 0


async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as the gateway does when all is well."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    writer.close()
    await writer.wait_closed()


async def answered(edge: Edge, content: bytes) -> bytes:
    """Return what comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.profile.public.port)
    try:
        writer.write(content)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
