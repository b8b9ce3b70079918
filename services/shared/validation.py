"""The rules that the contract declares for the fields of a message, and the one spelling of the ids in it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import protovalidate
from buf.validate import validate_pb2

from services.shared.errors import FieldViolation, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

VALIDATOR = protovalidate.Validator()
"""Compiles a message's rules once, when it first sees one."""


def validate(message: Any) -> None:
    """Check a message by the rules of its contract, then write its UUIDs in lower case (RFC 9562, section 4).

    From here on an id has one spelling, so that it can be compared, locked and digested as text. UUIDs are the fields
    with the rule `string.uuid`, at any depth; maps are not looked into. Raises ValidationFailed, which lists
    the fields.
    """
    violations = VALIDATOR.collect_violations(message)
    if violations:
        raise ValidationFailed(violations=[_violation(found.proto) for found in violations])
    _lower_ids(message)


def refuse_nul(message: Any) -> None:
    """Refuse texts with the character NUL, which PostgreSQL's type `text` cannot hold, at any depth but in maps.

    For what is written together with the requests of others, which would otherwise have to be written again without
    it. Raises ValidationFailed.
    """
    if b"\0" in message.SerializeToString():  # Not often: unset fields have no bytes.
        violations = [FieldViolation(path, "must not contain the character NUL") for path in _texts_with_nul(message)]
        if violations:
            raise ValidationFailed(violations=violations)


def _texts_with_nul(message: Any, within: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        for index, element in enumerate(value if field.is_repeated else [value]):
            path = f"{within}{field.json_name}" + (f"[{index}]" if field.is_repeated else "")
            if isinstance(element, str):
                if "\0" in element:
                    yield path
            elif field.message_type is not None:
                yield from _texts_with_nul(element, f"{path}.")


class _Field(NamedTuple):
    """A field that is a UUID, or a message with one somewhere inside."""

    name: str
    repeated: bool
    message: bool


def _lower_ids(message: Any) -> None:
    for name, repeated, is_message in _fields_with_ids(message.DESCRIPTOR):
        value = getattr(message, name)
        if repeated and is_message:
            for element in value:
                _lower_ids(element)
        elif repeated:
            value[:] = [element.lower() for element in value]
        elif is_message:
            if message.HasField(name):
                _lower_ids(value)
        elif value != (lowered := value.lower()):
            setattr(message, name, lowered)


@cache
def _fields_with_ids(message: Descriptor) -> tuple[_Field, ...]:
    return tuple(
        _Field(field.name, field.is_repeated, field.message_type is not None)
        for field in message.fields
        if _is_id(field) or (field.message_type and _holds_ids(field.message_type, {message.full_name}))
    )


def _holds_ids(message: Descriptor, outer: set[str]) -> bool:
    inner = outer | {message.full_name}
    return any(
        _is_id(field)
        or (field.message_type and field.message_type.full_name not in inner and _holds_ids(field.message_type, inner))
        for field in message.fields
    )


def _is_id(field: FieldDescriptor) -> bool:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return bool(rules.string.uuid or rules.repeated.items.string.uuid)


def _violation(found: Any) -> FieldViolation:
    return FieldViolation(_path(found.field), found.message or found.rule_id, found.rule_id)


def _path(path: Any) -> str:
    """Return a field's path as the client's JSON has it: "modules[0].lessons[2].title"."""
    parts = []
    for element in path.elements if path else ():  # A rule of the whole request names no field.
        subscript = f"[{element.subscript.value}]" if element.subscript else ""
        first, *rest = element.field_name.split("_")
        parts.append(first + "".join(word.capitalize() for word in rest) + subscript)
    return ".".join(parts)
