"""Error responses of an operation: the reasons that its comment names, and those that follow from its policy."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from google.rpc import code_pb2

from services.compiler.contract import GATEWAY
from services.compiler.openapi.comments import CommentError
from services.compiler.openapi.reasons import (
    HTTP_STATUSES,
    REASON_PREFIX,
    SHARED_REASONS,
    read_reason,
    reasons_of,
    sentence,
)
from services.compiler.openapi.schemas import STATUS
from services.shared.errors import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import EnumDescriptor, MethodDescriptor

    from services.compiler.contract import Contract
    from services.compiler.envoy.typed import Json
    from services.compiler.openapi.reasons import Reason
    from services.compiler.openapi.schemas import Schemas
    from services.shared.policy import MethodPolicy

ERRORS = re.compile(r"^Errors: (.*)", re.MULTILINE | re.DOTALL)
"""The end of an RPC's comment: `Errors: NOT_FOUND COURSE_NOT_FOUND; ABORTED ETAG_MISMATCH.`"""
CAPITALS = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b")
RETRY_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Errors:
    """All error reasons of the contract, and the examples of those that operations refer to."""

    def __init__(self, contract: Contract, schemas: Schemas) -> None:
        self._schemas = schemas
        self._shared = contract.pool.FindEnumTypeByName(SHARED_REASONS)
        self._of_owner = {owner: reasons_of(contract, owner) for owner in (*contract.owners, GATEWAY)}
        self._constants = frozenset(_constants(contract))
        self._examples: Json = {}
        self._components: Json = {"Error": _response("Any other error.", (), ("X-Request-Id",))}

    @property
    def components(self) -> Json:
        """The responses that several operations have, by the reasons that they are for."""
        return dict(sorted(self._components.items()))

    @property
    def examples(self) -> Json:
        """The examples of errors by reason."""
        return dict(sorted(self._examples.items()))

    def responses(self, method: MethodDescriptor, policy: MethodPolicy) -> Json:
        """Return the error responses of a method by HTTP status. Raises CommentError."""
        by_status: dict[int, dict[str, EnumDescriptor]] = {}
        for enum, reason in self._of(method, policy):
            status = HTTP_STATUSES[self._read(enum, reason).code]
            by_status.setdefault(status, {})[reason] = enum
        responses = {str(status): self._response(status, reasons) for status, reasons in sorted(by_status.items())}
        return responses | {"default": {"$ref": "#/components/responses/Error"}}

    def _of(self, method: MethodDescriptor, policy: MethodPolicy) -> Iterator[tuple[EnumDescriptor, str]]:
        own = self._of_owner[policy.owner]
        named = ERRORS.search(self._schemas.comment(method.full_name))
        for name in CAPITALS.findall(named[1]) if named else ():
            enum = next(
                (enum for enum in (own, self._shared) if enum and f"{REASON_PREFIX}{name}" in enum.values_by_name), None
            )
            if enum:
                yield enum, name
            elif name not in HTTP_STATUSES and name not in self._constants:
                raise CommentError(f"the comment of {method.full_name} names the unknown error reason {name}")
        yield from ((self._shared, name) for name in _implied(method, policy))

    def _read(self, enum: EnumDescriptor, reason: str) -> Reason:
        return read_reason(enum, reason, self._schemas.comment)

    def _response(self, status: int, reasons: Mapping[str, EnumDescriptor]) -> Json:
        descriptions = []
        for reason, enum in reasons.items():
            read = self._read(enum, reason)
            descriptions.append(f"`{reason}` ({read.code}): {read.description}")
            self._examples.setdefault(reason, {"summary": read.meaning, "value": _status(read)})
        headers = ("X-Request-Id", *(("Retry-After",) if status in RETRY_LATER else ()))
        response = _response("\n\n".join(descriptions), tuple(reasons), headers)
        if any(enum is not self._shared for enum in reasons.values()):
            return response
        name = ".".join(reasons)
        self._components[name] = response
        return {"$ref": f"#/components/responses/{name}"}


def _response(description: str, reasons: tuple[str, ...], headers: tuple[str, ...]) -> Json:
    content: Json = {"schema": {"$ref": f"#/components/schemas/{STATUS}"}}
    if reasons:
        content["examples"] = {reason: {"$ref": f"#/components/examples/{reason}"} for reason in reasons}
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {"application/json": content},
    }


def _constants(contract: Contract) -> Iterator[str]:
    """Yield the names of permissions, which comments may name beside reasons."""
    yield from contract.pool.FindEnumTypeByName("azora.policy.v1.Permission").values_by_name


def _implied(method: MethodDescriptor, policy: MethodPolicy) -> Iterator[str]:
    """Yield the reasons that are not in the comment because its policy implies them."""
    if method.input_type.fields:
        yield from ("VALIDATION_FAILED", "MALFORMED_REQUEST")
    if policy.takes_idempotency_key:
        yield from ("IDEMPOTENCY_KEY_REUSED", "IDEMPOTENCY_KEY_CONFLICT", "IDEMPOTENCY_KEY_INVALID")
    yield from ("TOKEN_INVALID",) if policy.public else ("TOKEN_MISSING", "TOKEN_INVALID", "TOKEN_EXPIRED")
    if policy.permissions and not policy.signed_in and not policy.public:
        yield "ACCESS_DENIED"
    if not policy.public:
        yield "INTERACTIVE_SIGN_IN_REQUIRED" if policy.interactive else "SCOPE_INSUFFICIENT"
    yield from ("RATE_LIMITED", "OVERLOADED", "DEPENDENCY_UNAVAILABLE", "DEADLINE_PASSED")


def _status(reason: Reason) -> Json:
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason.name,
        "domain": DOMAIN,
        "metadata": {},
    }
    return {"code": code_pb2.Code.Value(reason.code), "message": sentence(reason.meaning), "details": [info]}
