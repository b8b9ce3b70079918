"""Requests to URLs that users choose reach public addresses only, whatever the URL and the name server say."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections import Counter
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from services.deployment.pki import ensure_pki
from services.shared.outbound_http import LOOKUPS, AddressPolicy, OutboundHttp, RequestFailed, Url, is_public
from tests.support.receiver import TEN_MEGABYTES, break_tls, close_early, endless_interim, hang, receiving, status
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOOPBACK = AddressPolicy([ip_network("127.0.0.0/8")])


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1"],
)
def test_ordinary_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1"),
        *("172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.9"),
        *("224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:10.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:7f00:1::"),
        *("fe80::1", "fe80::1%1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1"),
        *("100::1", "5f00::1"),
    ],
)
def test_special_addresses_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://example.com", Url("https", "example.com", 443, "/")),
        ("https://EXAMPLE.com:8443/a/b?c=d%20e", Url("https", "example.com", 8443, "/a/b?c=d%20e")),
        ("http://xn--bcher-kva.example/", Url("http", "xn--bcher-kva.example", 80, "/")),
        ("https://[2606:4700::1]:444/x", Url("https", "2606:4700::1", 444, "/x")),
        ("https://8.8.8.8/", Url("https", "8.8.8.8", 443, "/")),
    ],
)
def test_urls_are_taken_apart(text: str, expected: Url) -> None:
    assert Url.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "example.com", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "HTTPS://example.com/"),
        *("https://", "https:///x", "https://user:pw@example.com/", "https://example.com@10.0.0.1/"),
        *("https://example.com/#fragment", "https://example.com?no=path", "https://example.com/a b", " https://a.b/"),
        *("https://example.com/\r\nx: y", "https://example.com/\n", "https://example.com\\@10.0.0.1/"),
        *("https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/"),
        *("https://127.0.0.1.5/", "https://1.2.3.4./", "https://example.com./", "https://a..b/", "https://-a.b/"),
        *("https://[::1/", "https://[v1.x]/", "https://[fe80::1%25eth0]/", "https://example.com:0/"),
        *(
            "https://example.com:65536/",
            "https://example.com:/",
            f"https://{'a.' * 130}com/",
            "https://bücher.example/",
        ),
        *(
            "https://example.com/é",
            "https://xn--\u2024.com/",
            "https://\uff11\uff12\uff17.0.0.1/",
            "https://[8.8.8.8]/",
        ),
    ],
)
def test_what_is_no_plain_url_is_none(text: str) -> None:
    assert Url.parse(text) is None


@pytest.mark.parametrize(
    ("text", "by_default", "with_loopback"),
    [
        ("https://example.com/", True, True),
        ("http://example.com/", False, True),  # Decided when it is resolved.
        ("https://127.0.0.1/", False, True),
        ("http://127.0.0.1/", False, True),
        ("http://[::ffff:127.0.0.1]/", False, True),
        ("https://10.0.0.1/", False, False),
        ("https://[::1]/", False, False),
        ("http://8.8.8.8/", False, False),
    ],
)
def test_a_policy_admits_https_to_public_hosts_and_what_a_setting_adds(
    text: str, by_default: bool, with_loopback: bool
) -> None:
    url = Url.parse(text)
    assert url is not None
    assert AddressPolicy().allows_url(url) is by_default
    assert LOOPBACK.allows_url(url) is with_loopback


class Names:
    """A name server that answers one way after the other."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0)
        if not answer:
            raise OSError("no such name")
        return answer


async def _post(http: OutboundHttp, text: str) -> str:
    url = Url.parse(text)
    assert url is not None
    try:
        return str((await http.post(url, headers={"x": "y"}, content=b"{}")).status)
    except RequestFailed as failed:
        return failed.reason


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["10.0.0.1", "8.8.8.8"],
        ["8.8.8.8", "::1"],
        ["::ffff:192.168.0.1"],
        ["64:ff9b::a00:1"],
        ["169.254.169.254"],
        ["fe80::1%eth0"],
        ["0.0.0.0"],
        [],
    ],
)
async def test_a_name_with_any_address_that_is_not_public_is_not_connected_to(answer: list[str]) -> None:
    names = Names(answer)
    assert await _post(OutboundHttp(AddressPolicy(), timeout_seconds=1, resolve=names), "https://evil.test/") == (
        "HOST_NOT_PUBLIC"
    )
    assert names.asked == ["evil.test"]


async def test_a_name_is_resolved_once_and_the_checked_address_connected_to() -> None:
    async with receiving() as receiver:
        names = Names(["127.0.0.1"], ["10.0.0.1"])
        http = OutboundHttp(LOOPBACK, timeout_seconds=5, resolve=names)
        assert await _post(http, f"http://rebinding.test:{receiver.port}/p?q") == "204"
        (received,) = receiver.received
        assert received.line == "POST /p?q HTTP/1.1"
        assert received.headers["host"] == f"rebinding.test:{receiver.port}"
        assert (received.headers["x"], received.body) == ("y", b"{}")
        assert await _post(http, f"http://rebinding.test:{receiver.port}/p?q") == "HOST_NOT_PUBLIC"
        assert len(receiver.received) == 1


async def test_the_second_address_is_tried_when_the_first_does_not_answer() -> None:
    async with receiving() as receiver:
        http = OutboundHttp(LOOPBACK, timeout_seconds=5, resolve=Names(["127.0.0.2", "127.0.0.1"]))
        assert await _post(http, f"http://two.test:{receiver.port}/") == "204"


async def test_http_stays_within_the_networks_that_are_allowed() -> None:
    http = OutboundHttp(LOOPBACK, timeout_seconds=1, resolve=Names(["8.8.8.8"]))
    assert await _post(http, "http://plain.test/") == "HOST_NOT_PUBLIC"


async def test_the_systems_resolver_is_asked_unless_another_is_given() -> None:
    async with receiving() as receiver:
        http = OutboundHttp(LOOPBACK, timeout_seconds=5)
        assert await _post(http, f"http://127.0.0.1:{receiver.port}/") == "204"
        both = AddressPolicy([*LOOPBACK.networks, ip_network("::1/128")])
        named = OutboundHttp(both, timeout_seconds=5)
        assert await _post(named, f"http://localhost:{receiver.port}/") == "204"
        await named.close()
        await http.close()


async def test_failures_have_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    async with receiving() as receiver:
        http = OutboundHttp(LOOPBACK, timeout_seconds=0.5)
        url = f"http://127.0.0.1:{receiver.port}/"
        receiver.answers.extend([hang, close_early, status(301, f"location: {url}"), status(500, "retry-after: 7")])
        assert await _post(http, url) == "TIMED_OUT"
        assert await _post(http, url) == "RESPONSE_INVALID"
        assert await _post(http, url) == "301"
        assert await _post(http, url) == "500"
        assert await _post(http, url.replace("http:", "https:")) == "TIMED_OUT"
        assert len(receiver.received) == 4
    assert await _post(http, url) == "CONNECTION_FAILED"
    assert await _post(OutboundHttp(AddressPolicy(), timeout_seconds=1), "http://example.com/") == "URL_NOT_ALLOWED"
    assert await _post(OutboundHttp(AddressPolicy(), timeout_seconds=1), "https://10.0.0.1/") == "HOST_NOT_PUBLIC"


async def test_interim_responses_without_end_are_given_up() -> None:
    async with receiving() as receiver:
        receiver.answers.append(endless_interim)
        http = OutboundHttp(LOOPBACK, timeout_seconds=5)
        assert await _post(http, f"http://127.0.0.1:{receiver.port}/") == "RESPONSE_INVALID"
        assert receiver.bytes_written < TEN_MEGABYTES


async def test_a_connection_that_stops_to_speak_tls_has_a_reason(tmp_path: Path) -> None:
    serving, trusting = _contexts(tmp_path)
    async with receiving(tls=serving) as receiver:
        receiver.answers.append(break_tls)
        http = OutboundHttp(LOOPBACK, timeout_seconds=5, resolve=Names(["127.0.0.1"]), tls=trusting)
        assert await _post(http, f"https://payment:{receiver.port}/") == "RESPONSE_INVALID"
        await eventually(receiver.idle)


def _contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the TLS of a receiver with the certificate of `payment`, and of a client that trusts it."""
    ensure_pki(folder)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(folder / "payment.crt", folder / "payment.key")
    return serving, ssl.create_default_context(cafile=folder / "ca.crt")


async def test_a_certificate_must_be_of_a_known_authority_and_of_the_name_in_the_url(tmp_path: Path) -> None:
    serving, trusting = _contexts(tmp_path)
    async with receiving(tls=serving) as receiver:
        resolve = Names(*[["127.0.0.1"]] * 3)
        trusted = OutboundHttp(LOOPBACK, timeout_seconds=5, resolve=resolve, tls=trusting)
        assert await _post(trusted, f"https://payment:{receiver.port}/") == "204"
        assert await _post(trusted, f"https://elsewhere.test:{receiver.port}/") == "TLS_FAILED"
        unknown = OutboundHttp(LOOPBACK, timeout_seconds=5, resolve=resolve)
        assert await _post(unknown, f"https://payment:{receiver.port}/") == "TLS_FAILED"
        assert len(receiver.received) == 1


async def test_a_name_server_that_hangs_is_waited_for_no_longer_than_the_rest() -> None:
    async def hanging(*_: object) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    assert await _post(OutboundHttp(AddressPolicy(), timeout_seconds=0.1, resolve=hanging), "https://a.test/") == (
        "TIMED_OUT"
    )


async def test_a_name_server_that_hangs_takes_one_thread_for_each_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer, resolve = Counter[str](), threading.Event(), socket.getaddrinfo

    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        asked[host] += 1
        if host.startswith("slow"):
            answer.wait()
        return resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with receiving() as receiver:
        http = OutboundHttp(LOOPBACK, timeout_seconds=2)
        slow = [f"http://slow{number % 4}.test:{receiver.port}/" for number in range(2 * LOOKUPS)]
        try:
            assert set(await asyncio.gather(*(_post(http, url) for url in slow))) == {"TIMED_OUT"}
            assert await _post(http, f"http://quick.test:{receiver.port}/") == "204"
        finally:
            answer.set()
            await http.close()
    assert asked == {**{f"slow{number}.test": 1 for number in range(4)}, "quick.test": 1}


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("0", 0), ("-1", 0), ("1e9", 0), ("9" * 20, 0), ("soon", 0)])
async def test_a_receiver_may_ask_for_a_delay(value: str, seconds: int) -> None:
    async with receiving() as receiver:
        receiver.answers.append(status(429, f"Retry-After: {value}"))
        url = Url.parse(f"http://127.0.0.1:{receiver.port}/")
        assert url is not None
        response = await OutboundHttp(LOOPBACK, timeout_seconds=5).post(url, headers={}, content=b"")
        assert (response.status, response.retry_after_seconds) == (429, seconds)
