"""Requests that two readers of HTTP could understand differently: refused, with whatever follows them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support import http2
from tests.support.edge import Edge, error_info
from tests.support.http2 import END_HEADERS, END_STREAM, connection

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.asyncio(loop_scope="session")

SMUGGLED = "GET /v1/courses HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = "POST /v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
REFUSED: dict[str, str] = {
    "a length and chunks": f"{POST}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": f"{POST}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": f"{POST}content-length: 2\r\ncontent-length: 60\r\n\r\n{{}}",
    "the same length twice": f"{POST}content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}",
    "a list of lengths": f"{POST}content-length: 2, 2\r\n\r\n{{}}",
    "a length with a sign": f"{POST}content-length: +2\r\n\r\n{{}}",
    "a negative length": f"{POST}content-length: -1\r\n\r\n{{}}",
    "a hexadecimal length": f"{POST}content-length: 0x2\r\n\r\n{{}}",
    "a length that is no number": f"{POST}content-length: two\r\n\r\n{{}}",
    "a length above all numbers": f"{POST}content-length: {2**64 + 2}\r\n\r\n{{}}",
    "chunked twice": f"{POST}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding after chunked": f"{POST}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding that sounds like chunked": f"{POST}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked behind a vertical tab": f"{POST}transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": POST.replace("1.1", "1.0") + "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": f"{POST}transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    "a header without a name": f"{POST}: value\r\ncontent-length: 2\r\n\r\n{{}}",
    "a header without a colon": f"{POST}transfer-encoding\r\n\r\n0\r\n\r\n",
    "NUL in a header": f"{POST}x-a: b\0c\r\ncontent-length: 2\r\n\r\n{{}}",
    "a chunk size with a sign": f"{POST}transfer-encoding: chunked\r\n\r\n+2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk size in 0x": f"{POST}transfer-encoding: chunked\r\n\r\n0x2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk size above all numbers": f"{POST}transfer-encoding: chunked\r\n\r\n{'f' * 17}2\r\n{{}}\r\n0\r\n\r\n",
    "a chunk longer than its size": f"{POST}transfer-encoding: chunked\r\n\r\n1\r\n{{}}\r\n0\r\n\r\n",
    "a chunk ending without a return": f"{POST}transfer-encoding: chunked\r\n\r\n2\n{{}}\n0\n\n",
    "two hosts": f"{POST}host: elsewhere\r\ncontent-length: 2\r\n\r\n{{}}",
    "no host": "GET /v1/courses HTTP/1.1\r\n\r\n",
    "a space in the path": "GET /v1/courses HTTP/1.1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a method that is none": "GE\tT /v1/courses HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "another version": "GET /v1/courses HTTP/1.2\r\nhost: localhost\r\n\r\n",
}


async def test_a_request_of_two_readings_is_refused_and_ends_its_connection(
    http: httpx.AsyncClient, edge: Edge
) -> None:
    """Nothing that follows it is answered: not one more request, whoever takes it for the rest of a body."""
    answers = await asyncio.gather(*(answered(edge, payload + SMUGGLED) for payload in REFUSED.values()))
    for name, answer in zip(REFUSED, answers, strict=True):
        assert answer.count(b"HTTP/1.") == 1, (name, answer)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert int(head.split(b" ")[1]) in (400, 415, 501), (name, answer)
        assert b"\r\nconnection: close" in head.lower(), (name, answer)
        assert not body or error_info(json.loads(body))["domain"] == "azora.dev", (name, answer)
    assert not any(edge.received(service) for service in edge.replicas), "no service is troubled with it"
    assert (await http.get("/v1/courses")).status_code == 200


async def test_extensions_of_chunks_are_dropped(http: httpx.AsyncClient, edge: Edge) -> None:
    """They are part of HTTP (RFC 9112 section 7.1.1); no service sees them, nor the chunks."""
    assert http
    chunked = 'transfer-encoding: chunked\r\nconnection: close\r\n\r\n2;a="\\r\\n0";b\r\n{}\r\n0;c\r\n\r\n'
    answer = await answered(edge, POST + chunked)
    assert answer.startswith(b"HTTP/1.1 200 ")
    (call,) = edge.received("auth")
    assert call.message == b""


@pytest.mark.parametrize(
    ("head", "bodies"),
    [
        ("x-a: b\r\n transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}", 2),
        ("transfer-encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 2),
        ("x-a: b\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 1),
    ],
    ids=["a folded header", "a folded coding", "a return within a header"],
)
async def test_lines_that_are_none_end_no_header(http: httpx.AsyncClient, edge: Edge, head: str, bodies: int) -> None:
    """A folded line goes on with a space (RFC 9112 section 5.2), and a lone return is no end of a line."""
    assert http
    last = SMUGGLED.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")
    answer = await answered(edge, POST + head + last)
    assert answer.count(b"HTTP/1.1 200 ") == bodies
    assert len(edge.received("education")) == bodies - 1, "what follows is a request only where the body has ended"
    assert len(edge.received("auth")) == 1


TRANSLATED: dict[str, dict[str, str]] = {
    "a header of connections": {"connection": "keep-alive"},
    "a transfer coding": {"transfer-encoding": "chunked"},
    "lines in a value": {"x-a": "b\r\ntransfer-encoding: chunked"},
    "lines in a name": {"x-a\r\nx-b": "c"},
    "a request in a name": {"x-a: b\r\n\r\nGET /v1/courses HTTP/1.1\r\nx-b": "c"},
    "NUL in a value": {"x-a": "b\0c"},
    "capitals in a name": {"X-A": "b"},
    "a space in a name": {"x a": "b"},
    "an upgrade": {"upgrade": "h2c"},
    "te of another kind": {"te": "chunked"},
}


@pytest.mark.parametrize("headers", TRANSLATED.values(), ids=TRANSLATED)
async def test_headers_that_http_1_would_read_differently_do_not_pass(
    http: httpx.AsyncClient, edge: Edge, headers: dict[str, str]
) -> None:
    """The pages of the gateway are HTTP/1.1 behind HTTP/2."""
    async with connection(edge.profile.public.port) as raw:
        await raw.open("/health", headers, method="GET", flags=END_HEADERS | END_STREAM)
        await raw.send(http2.PING, 0, 0, bytes(8))
        assert (await http.get("/v1/courses")).status_code == 200
    assert len(edge.received("education")) == 1
    assert not edge.received("gateway")


@pytest.mark.parametrize("length", ["0", "1", "100"])
async def test_a_length_that_is_not_that_of_the_body_is_refused(
    http: httpx.AsyncClient, edge: Edge, length: str
) -> None:
    headers = {"content-type": "application/grpc", "te": "trailers", "content-length": length}
    async with connection(edge.profile.public.port) as raw:
        stream = await raw.open("/azora.auth.v1.AuthService/Login", headers)
        await raw.send(http2.DATA, END_STREAM, stream, bytes(5))
        assert (await http.get("/v1/courses")).status_code == 200
    assert not edge.received("auth")


async def answered(edge: Edge, payload: str) -> bytes:
    """Return all that is answered until the edge closes the connection, which it does at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.profile.public.port)
    try:
        writer.write(payload.encode("latin-1"))
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
