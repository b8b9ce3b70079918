"""Conversion between accounts and their messages."""

from __future__ import annotations

import zoneinfo
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import events_pb2, user_pb2
from azora.policy.v1 import permission_pb2

from services.auth.accounts.model import NAME_RULE, PersonName, ProfileChanges, multiline, single_line
from services.shared.convert import timestamp
from services.shared.errors import UpdateMaskInvalid, ValidationFailed

if TYPE_CHECKING:
    from services.auth.accounts.model import User, UserRegistered

MUTABLE = tuple(field.name for field in fields(ProfileChanges))
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
        create_time=timestamp(model.create_time),
        update_time=timestamp(model.update_time),
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


def _kept(path: str, text: str) -> str:
    """Return a field's text as it is kept."""
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
