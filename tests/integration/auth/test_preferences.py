"""Preferences of one's clients: a bounded JSON object in the profile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import user_pb2
from azora.client import bearer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct, Value

from tests.support.refusals import refusal

if TYPE_CHECKING:
    from tests.support.auth import RunningAuth

PREFERENCES = {
    "theme": "dark",
    "fontSize": 14,
    "ratio": 1.5,
    "mail": {"digest": True, "topics": ["python", "economics"], "since": None},
    "": "empty name",
    "Ünï": "\N{GRINNING FACE}\0 and NUL",
}


@pytest.fixture
async def session(auth: RunningAuth) -> pb.RegisterResponse:
    return await auth.register("thandi@example.com", name="Thandi")


def struct(preferences: Any) -> Struct:
    return ParseDict(preferences, Struct())


async def update(auth: RunningAuth, session: pb.RegisterResponse, user: user_pb2.User, *paths: str) -> user_pb2.User:
    request = pb.UpdateProfileRequest(user=user, update_mask=FieldMask(paths=paths))
    return (await auth.auth.UpdateProfile(request, metadata=bearer(session.access_token))).user


def nested(levels: int) -> dict[str, Any]:
    """Return an object of so many levels."""
    return {"a": nested(levels - 1)} if levels > 1 else {}


async def test_an_account_begins_with_an_empty_object(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    user = (await auth.profile(session.access_token)).user
    assert user.HasField("preferences")
    assert MessageToDict(user.preferences) == {}


@pytest.mark.parametrize("paths", [(), ("preferences",)])
async def test_an_object_is_kept_as_it_is_and_replaced_as_a_whole(
    auth: RunningAuth, session: pb.RegisterResponse, paths: tuple[str, ...]
) -> None:
    changed = await update(auth, session, user_pb2.User(preferences=struct(PREFERENCES)), *paths)
    assert MessageToDict(changed.preferences) == PREFERENCES
    assert (await auth.profile(session.access_token)).user == changed
    assert (await auth.login("thandi@example.com")).user.preferences == changed.preferences
    replaced = await update(auth, session, user_pb2.User(preferences=struct({"b": 1})), *paths)
    assert MessageToDict(replaced.preferences) == {"b": 1}


async def test_other_updates_leave_preferences_alone_and_a_mask_empties_them(
    auth: RunningAuth, session: pb.RegisterResponse
) -> None:
    await update(auth, session, user_pb2.User(preferences=struct(PREFERENCES)))
    assert MessageToDict((await update(auth, session, user_pb2.User(bio="Hi"))).preferences) == PREFERENCES
    emptied = await update(auth, session, user_pb2.User(), "preferences")
    assert (MessageToDict(emptied.preferences), emptied.bio) == ({}, "Hi")


@pytest.mark.parametrize(
    "preferences",
    [
        struct(nested(6)),
        struct({"a": [[[[[]]]]]}),
        struct({"a": "x" * 4096}),
        struct({"a": "\N{GRINNING FACE}" * 1024}),
        struct({f"{number}": 1 for number in range(1000)}),
        Struct(fields={"a": Value(number_value=float("nan"))}),
        Struct(fields={"a": Value(number_value=float("-inf"))}),
        Struct(fields={"a": Value()}),
    ],
    ids=["deep object", "deep list", "long text", "long in bytes", "many members", "NaN", "infinite", "no value"],
)
async def test_what_is_too_large_too_deep_or_no_json_is_refused(
    auth: RunningAuth, session: pb.RegisterResponse, preferences: Struct
) -> None:
    refused = await refusal(update(auth, session, user_pb2.User(bio="Hi", preferences=preferences)))
    assert (refused.code, refused.reason, refused.fields) == (
        "INVALID_ARGUMENT",
        "VALIDATION_FAILED",
        ("user.preferences",),
    )
    assert (await auth.profile(session.access_token)).user == session.user


@pytest.mark.parametrize("preferences", [nested(5), {"a": [[[[]]]]}, {"a": "x" * 4086}])
async def test_the_largest_and_deepest_are_kept(
    auth: RunningAuth, session: pb.RegisterResponse, preferences: dict[str, Any]
) -> None:
    changed = await update(auth, session, user_pb2.User(preferences=struct(preferences)))
    assert MessageToDict(changed.preferences) == preferences


async def test_a_mask_names_no_member(auth: RunningAuth, session: pb.RegisterResponse) -> None:
    refused = await refusal(update(auth, session, user_pb2.User(preferences=struct({"a": 1})), "preferences.a"))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "UPDATE_MASK_INVALID")
