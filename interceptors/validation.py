"""Parses the request and holds it against the rules of its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import protovalidate

from interceptors.base import Interceptor
from services.shared.errors import FieldViolation, ValidationFailed

if TYPE_CHECKING:
    from interceptors.base import Call, Proceed

VALIDATOR = protovalidate.Validator()
"""Compiles a message's rules once, when it first sees one."""


class Validation(Interceptor):
    """Turns the request's bytes into its message and refuses what breaks the rules declared in the .proto."""

    async def around(self, call: Call, proceed: Proceed) -> None:
        """Set the call's request. Raises MalformedRequest, ValidationFailed."""
        if call.raw is not None:
            call.request = call.parse(call.raw)
            validate(call.request)
        await proceed()


def validate(message: Any) -> None:
    """Raise ValidationFailed, naming each field, for a message that breaks the rules of its contract."""
    violations = VALIDATOR.collect_violations(message)
    if violations:
        raise ValidationFailed(violations=[_violation(found.proto) for found in violations])


def _violation(found: Any) -> FieldViolation:
    return FieldViolation(_path(found.field), found.message or found.rule_id, found.rule_id)


def _path(path: Any) -> str:
    """Return a field's path as the client's JSON has it: "modules[0].lessons[2].title"."""
    parts = []
    for element in path.elements:
        subscript = f"[{element.subscript.value}]" if element.subscript else ""
        first, *rest = element.field_name.split("_")
        parts.append(first + "".join(word.capitalize() for word in rest) + subscript)
    return ".".join(parts)
