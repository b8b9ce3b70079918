"""One's own profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import user_pb2
from azora.client import bearer
from azora.policy.v1.permission_pb2 import ROLE_ADMIN
from google.protobuf.field_mask_pb2 import FieldMask

from services.shared.ids import new_id
from tests.support.auth import running_auth
from tests.support.refusals import refusal
from tests.support.serving import Signer
from tests.support.statements import recorded_statements

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.support.auth import RunningAuth
    from tests.support.postgres import Clone

FILLED = user_pb2.User(
    name="Thandi N.",
    bio="Learns\nPython.",
    avatar_url="https://example.com/t.png",
    location="Durban",
    timezone="Africa/Johannesburg",
)


@pytest.fixture
async def session(auth: RunningAuth) -> pb.RegisterResponse:
    return await auth.register("thandi@example.com", name="Thandi")


def _update(
    auth: RunningAuth, session: pb.RegisterResponse, user: user_pb2.User, *paths: str
) -> Awaitable[pb.UpdateProfileResponse]:
    request = pb.UpdateProfileRequest(user=user, update_mask=FieldMask(paths=paths))
    return auth.auth.UpdateProfile(request, metadata=bearer(session.access_token))


def _writable(user: user_pb2.User) -> user_pb2.User:
    return user_pb2.User(
        name=user.name, bio=user.bio, avatar_url=user.avatar_url, location=user.location, timezone=user.timezone
    )


async def test_without_a_mask_the_fields_that_are_present_change(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    assert _writable((await _update(auth, session, FILLED)).user) == FILLED
    changed = (await _update(auth, session, user_pb2.User(bio="", location="Soweto"))).user
    assert _writable(changed) == user_pb2.User(
        name=FILLED.name, bio="", avatar_url=FILLED.avatar_url, location="Soweto", timezone=FILLED.timezone
    )
    assert changed.update_time.ToDatetime() > session.user.update_time.ToDatetime()
    assert changed.create_time == session.user.create_time
    assert (await auth.profile(session.access_token)).user == changed


async def test_with_a_mask_the_fields_that_it_names_change(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    await _update(auth, session, FILLED)
    changed = (await _update(auth, session, user_pb2.User(name="Other", location="Soweto"), "location", "bio")).user
    assert (changed.name, changed.location, changed.bio) == (FILLED.name, "Soweto", "")
    assert changed.avatar_url == FILLED.avatar_url


async def test_what_only_the_system_writes_is_ignored_without_a_mask(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    wanted = user_pb2.User(id=new_id(), email="x@example.com", role=ROLE_ADMIN, bio="Hi")
    changed = (await _update(auth, session, wanted)).user
    assert (changed.id, changed.email, changed.role) == (session.user.id, session.user.email, session.user.role)
    assert changed.bio == "Hi"


@pytest.mark.parametrize("path", ["email", "role", "id", "create_time", "password", "name.first", "*", "", "x" * 9000])
async def test_a_mask_names_what_may_change_and_nothing_else(
    auth: RunningAuth, session: pb.RegisterResponse, path: str
) -> None:
    refused = await refusal(_update(auth, session, FILLED, "bio", path))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "UPDATE_MASK_INVALID")
    assert refused.metadata == {"path": path[:100]}
    assert (await auth.profile(session.access_token)).user.bio == ""


@pytest.mark.parametrize(
    ("user", "paths", "field"),
    [
        (user_pb2.User(), ["name"], "user.name"),
        (user_pb2.User(name="  "), [], "user.name"),
        (user_pb2.User(name="x" * 101), [], "user.name"),
        (user_pb2.User(timezone="Africa/Atlantis"), [], "user.timezone"),
        (user_pb2.User(timezone="../etc/passwd"), [], "user.timezone"),
        (user_pb2.User(avatar_url="http://example.com"), [], "user.avatarUrl"),
        (user_pb2.User(bio="x" * 1001), [], "user.bio"),
        (user_pb2.User(bio="nul\0"), [], "user.bio"),
        (user_pb2.User(bio="red \x1b[31m"), [], "user.bio"),
        (user_pb2.User(name="\N{ZERO WIDTH SPACE}"), [], "user.name"),
        (user_pb2.User(name="Thandi\N{RIGHT-TO-LEFT OVERRIDE}"), [], "user.name"),
        (user_pb2.User(location="Durban\r\nBcc: all"), [], "user.location"),
        (user_pb2.User(avatar_url="https://example.com/\x01"), [], "user.avatarUrl"),
    ],
)
async def test_values_that_break_a_rule_are_refused(
    auth: RunningAuth, session: pb.RegisterResponse, user: user_pb2.User, paths: list[str], field: str
) -> None:
    refused = await refusal(_update(auth, session, user, *paths))
    assert (refused.code, refused.reason, refused.fields) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", (field,))


async def test_a_character_that_text_cannot_hold_is_the_clients_mistake(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    refused = await refusal(_update(auth, session, user_pb2.User(bio="nul\0")))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")


async def test_a_profile_needs_the_token_of_a_session_that_goes_on(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    missing = await refusal(auth.auth.GetProfile(pb.GetProfileRequest()))
    assert (missing.code, missing.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    for token in (session.access_token[:-4] + "AAAA", Signer().token(session.user.id)):
        assert (await refusal(auth.profile(token))).reason == "TOKEN_INVALID"
    await auth.auth.Logout(pb.LogoutRequest(), metadata=bearer(session.access_token))
    assert (await refusal(_update(auth, session, FILLED))).reason == "TOKEN_INVALID"


async def test_a_token_speaks_for_its_own_user_alone(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    other = await auth.register("sipho@example.com", name="Sipho")
    await _update(auth, other, user_pb2.User(id=session.user.id, bio="Mine"))
    assert (await auth.profile(session.access_token)).user == session.user
    assert (await auth.profile(other.access_token)).user.bio == "Mine"


async def test_a_profile_is_read_in_one_prebuilt_statement(auth_database: Clone) -> None:
    with recorded_statements() as statements:
        async with running_auth(auth_database.owner_url, auth_database.app_url) as auth:
            session = await auth.register("thandi@example.com")
            for _ in range(3):  # The first ones compile it and fill memories.
                await auth.profile(session.access_token)
            assert len(await statements.prebuilt("GetProfile")) == 1
