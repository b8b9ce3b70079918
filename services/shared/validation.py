"""The rules that the contract declares for the fields of a message, and the one spelling of the ids in it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import protovalidate
from buf.validate import validate_pb2

from services.shared.errors import FieldViolation, ValidationFailed
from services.shared.limits import MAX_ELEMENTS, MAX_EXPLAINED_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

VALIDATOR = protovalidate.Validator()
"""Compiles a message's rules once, when it first sees one."""


def validate(message: Any) -> None:
    """Check a message by the rules of its contract, then write its UUIDs in lower case (RFC 9562, section 4).

    From here on an id has one spelling, so that it can be compared, locked and digested as text. UUIDs are the fields
    with the rule `string.uuid`, at any depth; maps are not looked into. Raises ValidationFailed, which lists
    the fields.

    The sizes of lists are checked first, by themselves: a rule costs up to 0.1 ms for each element, a violation more,
    and a message of 1 MiB has room for half a million. For the same reason a large message is told one violation only.
    """
    elements = count_elements(message)
    try:
        violations = VALIDATOR.collect_violations(message, fail_fast=elements > MAX_EXPLAINED_ELEMENTS)
    except protovalidate.EvaluationError:  # A duration or timestamp beyond what the type can hold.
        raise ValidationFailed from None
    if violations:
        raise ValidationFailed(violations=[_violation(found.proto) for found in violations])
    lower_ids(message)


def count_elements(message: Any, within: str = "") -> int:
    """Return how many elements the lists of a message have, at any depth but in maps.

    Raises ValidationFailed for a list that is longer than its rule allows, and for more elements than MAX_ELEMENTS.
    """
    count = 0
    for field in _fields_with_lists(message.DESCRIPTOR):
        path = f"{within}{field.path}"
        if not field.repeated:
            if message.HasField(field.name):
                count += count_elements(getattr(message, field.name), f"{path}.")
            continue
        listed = getattr(message, field.name)
        count += len(listed)
        _refuse_longer(path, len(listed), field.max_items)
        _refuse_longer(path, count, MAX_ELEMENTS)
        for index, element in enumerate(listed if field.message else ()):
            count += count_elements(element, f"{path}[{index}].")
            _refuse_longer(path, count, MAX_ELEMENTS)
    return count


def _refuse_longer(path: str, count: int, max_items: int) -> None:
    if count > max_items:
        violation = FieldViolation(path, f"must contain no more than {max_items} item(s)", "repeated.max_items")
        raise ValidationFailed(violations=[violation])


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


class _List(NamedTuple):
    """A field that is a list, or a message with one somewhere inside."""

    name: str
    path: str
    """Its name in JSON."""
    repeated: bool
    message: bool
    """Whether there is a list somewhere inside."""
    max_items: int


class _Field(NamedTuple):
    """A field that is a UUID, or a message with one somewhere inside."""

    name: str
    repeated: bool
    message: bool


def lower_ids(message: Any) -> None:
    """Write the UUIDs of a message in lower case."""
    for name, repeated, is_message in _fields_with_ids(message.DESCRIPTOR):
        value = getattr(message, name)
        if repeated and is_message:
            for element in value:
                lower_ids(element)
        elif repeated:
            value[:] = [element.lower() for element in value]
        elif is_message:
            if message.HasField(name):
                lower_ids(value)
        elif value != (lowered := value.lower()):
            setattr(message, name, lowered)


@cache
def _fields_with_lists(message: Descriptor) -> tuple[_List, ...]:
    return tuple(
        _List(
            field.name,
            field.json_name,
            field.is_repeated,
            _holds(_is_list, field.message_type),
            _rules(field).repeated.max_items or MAX_ELEMENTS,
        )
        for field in message.fields
        if _is_list(field) or (not _is_map(field) and _holds(_is_list, field.message_type))
    )


@cache
def _fields_with_ids(message: Descriptor) -> tuple[_Field, ...]:
    return tuple(
        _Field(field.name, field.is_repeated, field.message_type is not None)
        for field in message.fields
        if _is_id(field) or _holds(_is_id, field.message_type)
    )


def _holds(
    what: Callable[[FieldDescriptor], bool], message: Descriptor | None, outer: frozenset[str] = frozenset()
) -> bool:
    """Whether a field of a message, or of one inside of it, is what is asked for."""
    if message is None or message.full_name in outer:
        return False
    inner = outer | {message.full_name}
    return any(what(field) or _holds(what, field.message_type, inner) for field in message.fields)


def _is_list(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated) and not _is_map(field)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _is_id(field: FieldDescriptor) -> bool:
    rules = _rules(field)
    return bool(rules.string.uuid or rules.repeated.items.string.uuid)


def _rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]


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
