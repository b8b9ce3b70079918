"""Conversion between accounts and their messages."""

from __future__ import annotations

import json
import math
import zoneinfo
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import events_pb2, user_pb2
from azora.policy.v1 import permission_pb2
from google.protobuf.struct_pb2 import Struct

from services.auth.accounts.model import NAME_RULE, PersonName, ProfileChanges, multiline, single_line
from services.shared.convert import timestamp
from services.shared.errors import UpdateMaskInvalid, ValidationFailed
from services.shared.limits import MAX_STRUCT_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.struct_pb2 import Value

    from services.auth.accounts.model import EmailVerified, User, UserRegistered, UserRenamed

MUTABLE = tuple(field.name for field in fields(ProfileChanges))
MAX_PREFERENCES_DEPTH = 5
MAX_EXACT_INTEGER = 2**53
MAX_PATH_CHARACTERS = 100
"""Of a path that is told back in the answer's trailers, which have limits of their own."""


def user(model: User) -> user_pb2.User:
    """Return the message of a user."""
    return user_pb2.User(
        id=model.id,
        email=model.email,
        name=model.name,
        role=permission_pb2.Role.Value(model.role),
        bio=model.bio,
        avatar_url=model.avatar_url,
        location=model.location,
        timezone=model.timezone,
        preferences=_struct(model.preferences),
        create_time=timestamp(model.create_time),
        update_time=timestamp(model.update_time),
        email_verified=model.email_verified,
        state=user_pb2.UserState.Value(f"USER_STATE_{model.state}"),
    )


def get_profile_response(model: User) -> pb.GetProfileResponse:
    """Return the profile."""
    return pb.GetProfileResponse(user=user(model))


def update_profile_response(model: User) -> pb.UpdateProfileResponse:
    """Return the profile after the update."""
    return pb.UpdateProfileResponse(user=user(model))


def profile_changes(request: pb.UpdateProfileRequest) -> ProfileChanges:
    """Return what the mask names, or without one the fields that are present; a field that is named and absent empties.

    Raises UpdateMaskInvalid for a path that is unknown or not the user's to change; ValidationFailed.
    """
    present = [field.name for field, _ in request.user.ListFields() if field.name in MUTABLE]
    paths = request.update_mask.paths or present
    for path in paths:
        if path not in MUTABLE:
            raise UpdateMaskInvalid(path=path[:MAX_PATH_CHARACTERS])
    return ProfileChanges(**{path: _kept(path, getattr(request.user, path)) for path in paths})


def _kept(path: str, value: Any) -> Any:
    """Return a field's value as it is kept."""
    return _preferences(value) if path == "preferences" else _kept_text(path, value)


def _preferences(struct: Struct) -> Mapping[str, Any]:
    """Return preferences as a JSON object. Raises ValidationFailed."""
    try:
        preferences = {name: _json(value, depth=2) for name, value in struct.fields.items()}
    except ValueError as error:
        raise ValidationFailed.field("user.preferences", str(error)) from None
    if len(json.dumps(preferences, ensure_ascii=False).encode()) > MAX_STRUCT_BYTES:
        raise ValidationFailed.field("user.preferences", f"must be at most {MAX_STRUCT_BYTES} bytes as JSON")
    return preferences


def _json(value: Value, depth: int) -> Any:
    """Return a value of a Struct as Python's json has it. Raises ValueError, which says what must be different."""
    match value.WhichOneof("kind"):
        case "struct_value" | "list_value" if depth > MAX_PREFERENCES_DEPTH:
            raise ValueError(f"must be at most {MAX_PREFERENCES_DEPTH} levels deep")
        case "struct_value":
            return {name: _json(item, depth + 1) for name, item in value.struct_value.fields.items()}
        case "list_value":
            return [_json(item, depth + 1) for item in value.list_value.values]
        case "number_value" if math.isfinite(value.number_value):
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < MAX_EXACT_INTEGER else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "null_value":
            return None
    raise ValueError("must hold JSON values only: no empty values, no infinite numbers")


def _struct(preferences: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(preferences)
    return struct


def _kept_text(path: str, text: str) -> str:
    if path == "name":
        name = PersonName.parse(text)
        kept, rule = (name.text if name else None), NAME_RULE
    elif path == "bio":
        kept, rule = multiline(text), "must not contain control characters"
    else:
        kept, rule = single_line(text), "must not contain line breaks or control characters"
    if kept is None:
        raise ValidationFailed.field(f"user.{user_pb2.User.DESCRIPTOR.fields_by_name[path].json_name}", rule)
    if path == "timezone" and kept and kept not in _timezones():
        raise ValidationFailed.field("user.timezone", "must be an IANA time zone, like Africa/Johannesburg")
    return kept


@cache
def _timezones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def user_registered(event: UserRegistered) -> events_pb2.UserRegistered:
    """Return the event's message."""
    return events_pb2.UserRegistered(user_id=event.user_id)


def email_verified(event: EmailVerified) -> events_pb2.EmailVerified:
    """Return the event's message."""
    return events_pb2.EmailVerified(user_id=event.user_id)


def user_renamed(event: UserRenamed) -> events_pb2.UserRenamed:
    """Return the event's message."""
    return events_pb2.UserRenamed(user_id=event.user_id, name=event.name, version=event.version)
