"""Example values of fields and requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from services.compiler.openapi.rules import constrained, is_required, rules_of
from services.compiler.openapi.scalars import SCALARS

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, OneofDescriptor

    from services.compiler.envoy.typed import Json

BY_FORMAT = {
    "date-time": "2026-11-02T09:30:00Z",
    "email": "student@azora.world",
    "hostname": "azora.world",
    "int64": "1",
    "uint64": "1",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://azora.world/",
    "uri-reference": "/",
    "uuid": "019a43c8-7d2e-7b31-9c54-2f6a1e0b8d47",
}
BY_PATTERN = ("AZR", "AZ", "123456", "azora.world", "0" * 32, "0" * 64, "a")
"""Texts that patterns of the contract describe: the first one that matches is the example."""
BY_NAME = {
    "code": "123456",
    "description": "Introduction to Python",
    "email": BY_FORMAT["email"],
    "name": "Sam Student",
    "password": "Correct-Horse-7",
    "reason": "Requested by the user.",
    "title": "Python for beginners",
    "url": "https://learn.example.com/hook",
}
"""Texts by the last word of the field's name."""
BY_MESSAGE: Json = {
    "google.protobuf.Duration": "3600s",
    "google.protobuf.Struct": {},
    "google.protobuf.Timestamp": BY_FORMAT["date-time"],
}
TEXT = "example"
NUMBERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    }
)


def scalar_example(field: FieldDescriptor, schema: Json) -> Any:
    """Return an example of a single value that is neither message nor enum: the contract's own, or one that it admits.

    None where the schema says all.
    """
    declared = rules_of(field).string.example
    if declared:
        return declared[0]
    if field.name == "update_mask":
        return None
    if "pattern" in schema and "format" not in schema:  # Numbers in texts have both.
        return next((text for text in BY_PATTERN if re.search(schema["pattern"], text)), None)
    if "format" in schema:
        return BY_FORMAT.get(schema["format"])
    return BY_NAME.get(field.name.rpartition("_")[2]) if schema.get("type") == "string" else None


def request_example(message: Descriptor, bound: frozenset[str] = frozenset()) -> Json:
    """Return a minimal request body: the required fields that the path does not bind."""
    fields = {field.name: field for field in message.fields if field.name not in bound and is_required(field)}
    for oneof in message.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required and not fields.keys() & _names(oneof):
            fields[oneof.fields[0].name] = oneof.fields[0]
    return {field.json_name: field_example(field) for field in fields.values()}


def _names(oneof: OneofDescriptor) -> set[str]:
    return {field.name for field in oneof.fields}


def field_example(field: FieldDescriptor) -> Any:
    """Return a minimal valid value of a field."""
    rules = rules_of(field)
    return [_value(field, rules.repeated.items)] if field.is_repeated else _value(field, rules)


def _value(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Any:
    if field.message_type is not None:
        return BY_MESSAGE.get(field.message_type.full_name) or _nested(field.message_type)
    if field.enum_type is not None:
        refused = {0, *rules.enum.not_in}
        return next(value.name for value in field.enum_type.values if value.number not in refused)
    schema = constrained(SCALARS[field.type], rules, field)
    example = scalar_example(field, schema)
    if example is not None:
        return example
    if schema["type"] == "string":
        return TEXT.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
    return schema["type"] == "boolean" or max(1, schema.get("minimum", 0))


def _nested(message: Descriptor) -> Json:
    """Return a message within a request, with its numbers, since a rule of the field that holds it may bound them."""
    numbers = {field.json_name: field_example(field) for field in message.fields if field.cpp_type in NUMBERS}
    return request_example(message) | numbers
