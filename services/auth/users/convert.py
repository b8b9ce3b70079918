"""Conversion between users and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.auth.v1 import role_pb2, user_pb2
from azora.auth.v1 import user_service_pb2 as pb
from azora.policy.v1 import permission_pb2

from services.auth.accounts.convert import user
from services.auth.accounts.model import Role, UserState, single_line
from services.auth.erasures.convert import erasure
from services.auth.users.model import UserFilter
from services.shared.convert import timestamp, to_time
from services.shared.errors import ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.auth.accounts.model import User
    from services.auth.users.model import RolePermissions, UserDetails
    from services.shared.pagination import Page


def user_filter(request: pb.ListUsersRequest) -> UserFilter:
    """Return which users are asked for. Raises ValidationFailed."""
    query = single_line(request.query)
    if query is None:
        raise ValidationFailed.field("query", "must not contain line breaks or control characters")
    return UserFilter(
        query=query,
        role=to_role(request.role) if request.role else None,
        state=UserState(user_pb2.UserState.Name(request.state).removeprefix("USER_STATE_")) if request.state else None,
        start_time=to_time(request.start_time, field="startTime") if request.HasField("start_time") else None,
        end_time=to_time(request.end_time, field="endTime") if request.HasField("end_time") else None,
    )


def to_role(role: permission_pb2.Role.ValueType) -> Role:
    """Return the role of a request."""
    return Role(permission_pb2.Role.Name(role))


def list_users_response(page: Page[User]) -> pb.ListUsersResponse:
    """Return a page of users."""
    return pb.ListUsersResponse(users=[user(model) for model in page.items], next_page_token=page.next_page_token)


def get_user_response(details: UserDetails) -> pb.GetUserResponse:
    """Return a user."""
    return pb.GetUserResponse(
        user=user(details.user),
        unlock_time=timestamp(details.unlock_time),
        erasure=erasure(details.erasure) if details.erasure else None,
    )


def set_user_role_response(model: User) -> pb.SetUserRoleResponse:
    """Return the user with the role."""
    return pb.SetUserRoleResponse(user=user(model))


def disable_user_response(model: User) -> pb.DisableUserResponse:
    """Return the disabled user."""
    return pb.DisableUserResponse(user=user(model))


def enable_user_response(model: User) -> pb.EnableUserResponse:
    """Return the enabled user."""
    return pb.EnableUserResponse(user=user(model))


def unlock_user_response(model: User) -> pb.UnlockUserResponse:
    """Return the user."""
    return pb.UnlockUserResponse(user=user(model))


def list_roles_response(roles: Sequence[RolePermissions]) -> pb.ListRolesResponse:
    """Return the roles, all in the order of their numbers."""
    listed = [_role_permissions(model) for model in roles]
    return pb.ListRolesResponse(roles=sorted(listed, key=lambda message: message.role))


def _role_permissions(model: RolePermissions) -> role_pb2.RolePermissions:
    return role_pb2.RolePermissions(
        role=permission_pb2.Role.Value(model.role),
        permissions=sorted(map(permission_pb2.Permission.Value, model.permissions)),
    )
