"""The list of one's own sessions, and how they are ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import auth_service_pb2, device_service_pb2, device_service_pb2_grpc, session_pb2
from azora.auth.v1 import session_service_pb2 as pb
from azora.client import bearer

from services.auth.sessions.model import device_of
from services.shared.ids import new_id
from tests.support.auth import PASSWORD
from tests.support.refusals import refusal
from tests.support.serving import channel_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.auth import RunningAuth

EMAIL = "thandi@example.com"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0"
AGENTS = {
    FIREFOX: "Firefox on Windows",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36": (
        "Chrome on Linux"
    ),
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0": "Edge on Windows",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1": (
        "Safari on iPhone"
    ),
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/17.6 Safari/605.1.15": "Safari on macOS",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36": "Chrome on Android",
    "curl/8.5.0": "curl",
    "grpc-python-asyncio/1.80.0": "gRPC client",
    "something else": "",
    "": "",
}


async def own(auth: RunningAuth, access_token: str, **request: object) -> pb.ListSessionsResponse:
    return await auth.sessions.ListSessions(pb.ListSessionsRequest(**request), metadata=bearer(access_token))  # type: ignore[arg-type]


async def revoke(auth: RunningAuth, access_token: str, session_id: str) -> None:
    await auth.sessions.RevokeSession(pb.RevokeSessionRequest(session_id=session_id), metadata=bearer(access_token))


def ids(sessions: Sequence[session_pb2.Session]) -> list[str]:
    return [session.id for session in sessions]


@pytest.mark.parametrize(("agent", "device"), AGENTS.items())
def test_a_user_agent_is_told_by_browser_and_system(agent: str, device: str) -> None:
    assert device_of(agent) == device


async def test_sessions_show_device_address_and_last_use(auth: RunningAuth) -> None:
    await auth.register(EMAIL)
    request = auth_service_pb2.LoginRequest(email=EMAIL, password=PASSWORD, device_name="  Thandi's laptop ")
    named = await auth.auth.Login(request, metadata=(("x-forwarded-for", "6.6.6.6, 10.0.0.1"),))
    newest, oldest = (await own(auth, named.access_token)).sessions
    assert (newest.device, newest.address, newest.current) == ("Thandi's laptop", "10.0.0.1", True)
    assert (oldest.device.startswith("gRPC client"), oldest.current) == (True, False)
    async with channel_to(auth.target) as channel:
        stub = device_service_pb2_grpc.DeviceServiceStub(channel)
        known = await stub.ListDevices(device_service_pb2.ListDevicesRequest(), metadata=bearer(named.access_token))
    assert [device.name for device in known.devices] == [newest.device, oldest.device]
    assert newest.last_use_time == newest.create_time
    refresh = auth_service_pb2.RefreshRequest(refresh_token=named.refresh_token)
    await auth.auth.Refresh(refresh, metadata=(("x-forwarded-for", "10.0.0.2"),))
    used = (await own(auth, named.access_token)).sessions[0]
    assert used.last_use_time.ToDatetime() > newest.last_use_time.ToDatetime()
    assert (used.address, used.device, used.create_time) == ("10.0.0.2", newest.device, newest.create_time)
    assert 29.9 < (used.expire_time.ToDatetime() - used.last_use_time.ToDatetime()).total_seconds() / 86400 < 30.1


async def test_a_known_device_is_named_like_its_session(auth: RunningAuth) -> None:
    await auth.register(EMAIL)
    [row] = await auth.sql("SELECT devices.name, sessions.device FROM devices JOIN sessions USING (user_id)")
    assert row["name"] == row["device"] != ""


async def test_a_device_name_stands_on_one_line(auth: RunningAuth) -> None:
    await auth.register(EMAIL)
    for name in ("a\nb", "x" * 101, "nul\0"):
        request = auth_service_pb2.LoginRequest(email=EMAIL, password=PASSWORD, device_name=name)
        refused = await refusal(auth.auth.Login(request))
        assert (refused.reason, refused.fields) == ("VALIDATION_FAILED", ("deviceName",))


async def test_sessions_come_in_pages_the_newest_first_and_ended_ones_do_not(auth: RunningAuth) -> None:
    token = (await auth.register(EMAIL)).access_token
    for _ in range(4):
        await auth.login(EMAIL)
    every = ids((await own(auth, token)).sessions)
    assert every == sorted(every, reverse=True)
    first = await own(auth, token, page_size=3)
    rest = await own(auth, token, page_size=3, page_token=first.next_page_token)
    assert ids([*first.sessions, *rest.sessions]) == every
    assert not rest.next_page_token
    other = await auth.register("sipho@example.com")
    stolen = await refusal(own(auth, other.access_token, page_token=first.next_page_token))
    assert stolen.reason == "PAGE_TOKEN_INVALID"
    await revoke(auth, token, every[0])
    await auth.sql("UPDATE sessions SET last_use_time = now() - interval '31 days' WHERE id = $1", every[1])
    await auth.sql("UPDATE sessions SET expire_time = now() - interval '1 second' WHERE id = $1", every[2])
    assert ids((await own(auth, token)).sessions) == every[3:]


async def test_one_session_is_ended_and_the_others_go_on(auth: RunningAuth) -> None:
    mine, lost = await auth.register(EMAIL), await auth.login(EMAIL)
    newest, oldest = ids((await own(auth, mine.access_token)).sessions)
    await asyncio.gather(*(revoke(auth, mine.access_token, newest) for _ in range(5)))
    assert (await refusal(auth.refresh(lost.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    assert (await refusal(auth.profile(lost.access_token))).reason == "TOKEN_INVALID"
    assert ids((await own(auth, mine.access_token)).sessions) == [oldest]
    assert (await auth.refresh(mine.refresh_token)).user == mine.user
    assert list(await auth.recorded(f"sessions/{newest}")) == ["session.revoke"]


async def test_the_session_of_someone_else_is_not_found(auth: RunningAuth) -> None:
    mine, other = await auth.register(EMAIL), await auth.register("sipho@example.com")
    (theirs,) = ids((await own(auth, other.access_token)).sessions)
    for session_id in (theirs, new_id()):
        refused = await refusal(revoke(auth, mine.access_token, session_id))
        assert (refused.code, refused.reason) == ("NOT_FOUND", "SESSION_NOT_FOUND")
    assert (await auth.refresh(other.refresh_token)).user == other.user


async def test_all_others_are_ended_at_once_and_then_all(auth: RunningAuth) -> None:
    await auth.register(EMAIL)
    lost = [await auth.login(EMAIL) for _ in range(3)]
    mine = await auth.login(EMAIL)
    metadata = bearer(mine.access_token)
    await auth.sessions.RevokeOtherSessions(pb.RevokeOtherSessionsRequest(), metadata=metadata)
    for session in lost:
        assert (await refusal(auth.refresh(session.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    assert [session.current for session in (await own(auth, mine.access_token)).sessions] == [True]
    renewed = await auth.refresh(mine.refresh_token)
    await auth.sessions.RevokeAllSessions(pb.RevokeAllSessionsRequest(), metadata=bearer(renewed.access_token))
    assert (await refusal(auth.refresh(renewed.refresh_token))).reason == "REFRESH_TOKEN_INVALID"
    assert (await refusal(auth.profile(renewed.access_token))).reason == "TOKEN_INVALID"
    assert len(await auth.sql("SELECT 1 FROM revocations WHERE cause = 'SESSIONS_REVOKED'")) == 2
