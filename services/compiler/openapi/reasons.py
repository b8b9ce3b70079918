"""Error reasons: what the comments of the contract's `ErrorReason` enums say of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from services.compiler.openapi.comments import CommentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import EnumDescriptor

    from services.compiler.contract import Contract

SHARED_REASONS = "azora.policy.v1.ErrorReason"
REASON_PREFIX = "ERROR_REASON_"
COMMENT = re.compile(
    r"(?P<code>[A-Z_]+)(?: \((?P<exception>[^)]*)\))?: (?P<meaning>.*?)"
    r"(?: Metadata: (?P<metadata>.*?))? Action: (?P<action>.*\.)"
)
"""The comment of a reason: `NOT_FOUND: the course does not exist. Action: list the courses.`"""
HTTP_STATUSES = {
    "ABORTED": HTTPStatus.CONFLICT,
    "ALREADY_EXISTS": HTTPStatus.CONFLICT,
    "CANCELLED": 499,
    "DATA_LOSS": HTTPStatus.INTERNAL_SERVER_ERROR,
    "DEADLINE_EXCEEDED": HTTPStatus.GATEWAY_TIMEOUT,
    "FAILED_PRECONDITION": HTTPStatus.BAD_REQUEST,
    "INTERNAL": HTTPStatus.INTERNAL_SERVER_ERROR,
    "INVALID_ARGUMENT": HTTPStatus.BAD_REQUEST,
    "NOT_FOUND": HTTPStatus.NOT_FOUND,
    "OUT_OF_RANGE": HTTPStatus.BAD_REQUEST,
    "PERMISSION_DENIED": HTTPStatus.FORBIDDEN,
    "RESOURCE_EXHAUSTED": HTTPStatus.TOO_MANY_REQUESTS,
    "UNAUTHENTICATED": HTTPStatus.UNAUTHORIZED,
    "UNAVAILABLE": HTTPStatus.SERVICE_UNAVAILABLE,
    "UNIMPLEMENTED": HTTPStatus.NOT_IMPLEMENTED,
    "UNKNOWN": HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status that Envoy answers over HTTP for each gRPC code."""


@dataclass(frozen=True, slots=True)
class Reason:
    """An error reason, as its comment describes it."""

    name: str
    code: str
    """gRPC code."""
    exception: str
    """Another code, and where it is returned: `UNIMPLEMENTED over gRPC`. Empty for most."""
    meaning: str
    metadata: str
    """Keys of the metadata, and what they hold. Empty if there is none."""
    action: str
    """What the caller does about it."""

    @property
    def description(self) -> str:
        """The comment without the code."""
        metadata = f" Metadata: {self.metadata}" if self.metadata else ""
        return f"{self.meaning}{metadata} Action: {self.action}"


def sentence(text: str) -> str:
    """Return a part of a comment, which begins in lower case, as a sentence of its own."""
    return f"{text[:1].upper()}{text[1:]}"


def reasons_of(contract: Contract, owner: str) -> EnumDescriptor | None:
    """Return the enum of a service's own reasons, if it has any."""
    try:
        return contract.pool.FindEnumTypeByName(f"azora.{owner}.v1.ErrorReason")
    except KeyError:
        return None


def read_reason(enum: EnumDescriptor, name: str, comment: Callable[[str], str]) -> Reason:
    """Return what the comment of a reason says; `comment` gives that of a full name. Raises CommentError."""
    full_name = f"{enum.full_name}.{REASON_PREFIX}{name}"
    found = COMMENT.fullmatch(" ".join(comment(full_name).split()))
    if found is None or found["code"] not in HTTP_STATUSES:
        raise CommentError(
            f"the comment of {full_name} is not 'CODE: what is wrong. Metadata: keys. Action: what to do.', "
            "with or without metadata"
        )
    return Reason(name, **{group: text or "" for group, text in found.groupdict().items()})


def read_reasons(enum: EnumDescriptor, comment: Callable[[str], str]) -> Iterator[Reason]:
    """Yield all reasons of an enum in their order. Raises CommentError."""
    for value in enum.values:
        if value.number:
            yield read_reason(enum, value.name.removeprefix(REASON_PREFIX), comment)
