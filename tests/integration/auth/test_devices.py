"""Known devices: a person with the right password is not kept out by what others guess."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from azora.auth.v1 import device_pb2
from azora.auth.v1 import device_service_pb2 as pb
from azora.client import bearer

from tests.support.auth import PASSWORD, RunningAuth
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from tests.support.second_factors import Client

EMAIL, OTHER = "thandi@example.com", "sipho@example.com"
WRONG = "a wrong password"
REFUSED = "TOO_MANY_FAILED_ATTEMPTS"


@pytest.fixture
def auth(limited: RunningAuth) -> RunningAuth:
    return limited


async def test_five_wrong_guesses_a_minute_from_everywhere_do_not_keep_a_person_on_a_known_device_out(
    auth: RunningAuth, client: Client
) -> None:
    token = (await auth.register(EMAIL)).device_token
    for minute in range(10):
        for guess in range(5):
            await refusal(client.login(EMAIL, WRONG, address=f"198.51.{minute}.{guess}"))
        session = await client.login(EMAIL, device_token=token, address="203.0.113.7")
        assert session.access_token
        assert (await refusal(client.login(EMAIL, address="203.0.113.8"))).reason == REFUSED
        await auth.sql("UPDATE failed_attempts SET count_time = count_time - interval '1 minute'")


async def test_guesses_from_the_same_address_do_not_keep_a_known_device_out(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).device_token
    for number in range(25):
        await refusal(client.login(f"person{number}@example.com", WRONG, address="203.0.113.7"))
    assert (await refusal(client.login(EMAIL, address="203.0.113.7"))).reason == REFUSED
    assert (await client.login(EMAIL, device_token=token, address="203.0.113.7")).access_token


async def test_a_device_has_a_count_of_its_own(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).device_token
    reasons = [(await refusal(client.login(EMAIL, WRONG, device_token=token))).reason for _ in range(6)]
    assert reasons == ["CREDENTIALS_INVALID"] * 5 + [REFUSED]
    assert (await refusal(client.login(EMAIL, device_token=token))).reason == REFUSED
    assert (await client.login(EMAIL)).access_token, "the account was not guessed at"


async def test_a_device_token_does_not_replace_the_password(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).device_token
    assert (await refusal(client.login(EMAIL, WRONG, device_token=token))).reason == "CREDENTIALS_INVALID"


async def test_a_device_token_of_another_user_counts_as_none(auth: RunningAuth, client: Client) -> None:
    await auth.register(EMAIL)
    token = (await auth.register(OTHER)).device_token
    reasons = [(await refusal(client.login(EMAIL, WRONG, device_token=token))).reason for _ in range(6)]
    assert reasons[5] == REFUSED
    assert (await client.login(OTHER, device_token=token)).access_token
    session = await client.login(OTHER)
    assert session.device_token not in ("", token), "another device of theirs"


async def test_an_unknown_device_token_is_ignored(auth: RunningAuth, client: Client) -> None:
    await auth.register(EMAIL)
    session = await client.login(EMAIL, device_token="x" * 43)
    assert session.device_token not in ("", "x" * 43)


async def test_there_is_one_token_for_a_device(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    assert session.device_token
    again = await client.login(EMAIL, device_token=session.device_token)
    assert again.device_token == ""
    elsewhere = await client.login(EMAIL)
    assert elsewhere.device_token not in ("", session.device_token)
    devices = await _devices(client, again.access_token)
    assert len(devices) == 2
    assert devices[1].last_use_time.ToDatetime() > devices[1].create_time.ToDatetime()


async def test_a_revoked_device_is_unknown_and_its_sessions_go_on(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    [device] = await _devices(client, session.access_token)
    request = pb.RevokeDeviceRequest(device_id=device.id)
    await client.devices.RevokeDevice(request, metadata=bearer(session.access_token))
    assert not await _devices(client, session.access_token)
    for _ in range(5):
        await refusal(client.login(EMAIL, WRONG))
    assert (await refusal(client.login(EMAIL, device_token=session.device_token))).reason == REFUSED
    gone = await refusal(client.devices.RevokeDevice(request, metadata=bearer(session.access_token)))
    assert (gone.code, gone.reason) == ("NOT_FOUND", "DEVICE_NOT_FOUND")
    assert await auth.recorded(f"devices/{device.id}") == ["device.revoke"]


async def test_devices_of_others_are_not_found(auth: RunningAuth, client: Client) -> None:
    session, other = await auth.register(EMAIL), await auth.register(OTHER)
    [device] = await _devices(client, session.access_token)
    for device_id in (device.id, str(uuid4())):
        request = pb.RevokeDeviceRequest(device_id=device_id)
        gone = await refusal(client.devices.RevokeDevice(request, metadata=bearer(other.access_token)))
        assert (gone.code, gone.reason) == ("NOT_FOUND", "DEVICE_NOT_FOUND")
    assert await _devices(client, session.access_token) == [device]


async def test_who_is_not_signed_in_sees_no_devices(auth: RunningAuth, client: Client) -> None:
    assert (await refusal(client.devices.ListDevices(pb.ListDevicesRequest()))).reason == "TOKEN_MISSING"


async def test_devices_come_in_pages_newest_first(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).access_token
    for _ in range(4):
        await client.login(EMAIL)
    everything = await _devices(client, token)
    assert [device.id for device in everything] == sorted((device.id for device in everything), reverse=True)
    listed, page_token = [], ""
    while True:
        request = pb.ListDevicesRequest(page_size=2, page_token=page_token)
        page = await client.devices.ListDevices(request, metadata=bearer(token))
        listed += [*page.devices]
        page_token = page.next_page_token
        if not page_token:
            break
    assert listed == everything
    bad = pb.ListDevicesRequest(page_token="x")
    assert (await refusal(client.devices.ListDevices(bad, metadata=bearer(token)))).reason == "PAGE_TOKEN_INVALID"


async def test_a_user_has_at_most_fifty_devices(auth: RunningAuth, client: Client) -> None:
    session = await auth.register(EMAIL)
    await auth.sql(
        "INSERT INTO devices (id, user_id, token_digest, name, last_use_time)"
        " SELECT uuidv7(), $1, sha256(n::text::bytea), '', now() - n * interval '1 hour' FROM generate_series(1, 49) n",
        session.user.id,
    )
    await asyncio.gather(*(client.login(EMAIL) for _ in range(3)))
    rows = await auth.sql("SELECT last_use_time > now() - interval '46.5 hours' AS recent FROM devices")
    assert [row["recent"] for row in rows] == [True] * 50
    assert (await client.login(EMAIL, device_token=session.device_token)).device_token == ""


async def test_the_database_holds_no_device_token(auth: RunningAuth, client: Client) -> None:
    token = (await auth.register(EMAIL)).device_token
    rows = [str(dict(row)) for row in await auth.sql("SELECT *, d::text AS whole FROM devices d")]
    assert rows
    assert not [row for row in rows if token in row or PASSWORD in row]


async def _devices(client: Client, access_token: str) -> list[device_pb2.Device]:
    return [*(await client.devices.ListDevices(pb.ListDevicesRequest(), metadata=bearer(access_token))).devices]
