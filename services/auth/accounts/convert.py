"""Between the model of accounts and its messages."""

from __future__ import annotations

import unicodedata
import zoneinfo
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from azora.auth.v1 import auth_service_pb2 as pb
from azora.auth.v1 import user_pb2
from azora.policy.v1 import permission_pb2

from services.auth.accounts.model import ProfileChanges
from services.shared.convert import timestamp
from services.shared.errors import UpdateMaskInvalid, ValidationFailed

if TYPE_CHECKING:
    from services.auth.accounts.model import SignedIn, User

SessionResponse = TypeVar("SessionResponse", pb.RegisterResponse, pb.LoginResponse, pb.RefreshResponse)

MUTABLE = tuple(field.name for field in fields(ProfileChanges))
PATH_CHARACTERS_MAX = 100
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


def session(response: type[SessionResponse], signed_in: SignedIn) -> SessionResponse:
    """Return a session as the answer of one of the methods that give one."""
    return response(
        access_token=signed_in.access_token,
        refresh_token=signed_in.refresh_token,
        expires_in=signed_in.expires_in_seconds,
        user=user(signed_in.user),
    )


def profile_changes(request: pb.UpdateProfileRequest) -> ProfileChanges:
    """Return what the mask names, or without one the fields that are present; a field that is named and absent empties.

    Raises UpdateMaskInvalid for a path that is unknown or not the user's to change; ValidationFailed.
    """
    present = [field.name for field, _ in request.user.ListFields() if field.name in MUTABLE]
    paths = request.update_mask.paths or present
    for path in paths:
        if path not in MUTABLE:
            raise UpdateMaskInvalid(metadata={"path": path[:PATH_CHARACTERS_MAX]})
    changes = {path: getattr(request.user, path) for path in paths}
    if "name" in changes:
        changes["name"] = person_name(changes["name"], field="user.name")
    if changes.get("timezone") and changes["timezone"] not in _timezones():
        raise ValidationFailed.field("user.timezone", "must be an IANA time zone, for example Africa/Johannesburg")
    return ProfileChanges(**changes)


def person_name(text: str, *, field: str = "name") -> str:
    """Return a name as it is kept: NFC, without spaces around it. Raises ValidationFailed."""
    name = unicodedata.normalize("NFC", text.strip())
    if not name or any(unicodedata.category(character) == "Cc" for character in name):
        raise ValidationFailed.field(field, "must contain a visible character and no control characters")
    return name


@cache
def _timezones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
