"""The maximum size of a method's request, as the rules of its fields bound it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor

from services.shared.limits import MAX_FORM_BYTES, MAX_STRUCT_BYTES

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

ESCAPED_CHARACTER_BYTES = 12
"""A character outside the Basic Multilingual Plane, escaped in JSON: two times \\uXXXX."""
ESCAPED_JSON = 3
"""How much longer JSON is with all escaped that need not be: \\uXXXX for two bytes of UTF-8."""
UUID_CHARACTERS = 36
UNBOUNDED_PATTERN = re.compile(r"[*+]|,\}")
PATTERN_CHARACTERS = 100
"""More than any pattern without an unbounded repetition matches here."""
SCALAR_BYTES = 32
"""The longest number in JSON, quoted."""
OUTPUT_ONLY_BYTES = 512
MASK_BYTES = 1024
WELL_KNOWN_BYTES = {
    "google.protobuf.Timestamp": 64,
    "google.protobuf.Duration": 64,
    "google.protobuf.FieldMask": MASK_BYTES,  # Names fields of the request: its own rules would not bound it.
    "google.protobuf.Struct": ESCAPED_JSON * MAX_STRUCT_BYTES,
    "google.api.HttpBody": MAX_FORM_BYTES,
}
STRINGS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def max_request_bytes(request: Descriptor) -> float:
    """Return the maximum size of a valid request as JSON, which is longer than its encoding; infinite if unbounded."""
    return _message(request, ())


def _message(message: Descriptor, outer: tuple[str, ...]) -> float:
    if message.full_name in WELL_KNOWN_BYTES:
        return WELL_KNOWN_BYTES[message.full_name]
    if message.full_name in outer:
        return math.inf
    return 2 + sum(_field(field, (*outer, message.full_name)) for field in message.fields)


def _field(field: FieldDescriptor, outer: tuple[str, ...]) -> float:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    name_bytes = max(len(field.name), len(field.json_name)) + len('"":,')
    if field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]:
        return name_bytes + OUTPUT_ONLY_BYTES  # Sent back as it was read, and ignored.
    if not field.is_repeated:
        return name_bytes + _value(field, rules, outer)
    items = rules.map.max_pairs if rules.HasField("map") else rules.repeated.max_items
    if not items:
        return math.inf
    return name_bytes + items * (1 + _value(field, rules.repeated.items, outer))


def _value(field: FieldDescriptor, rules: validate_pb2.FieldRules, outer: tuple[str, ...]) -> float:
    if field.message_type is not None:
        return _message(field.message_type, outer)
    if field.enum_type is not None:
        return max(len(value.name) for value in field.enum_type.values) + len('""')
    if field.type not in STRINGS:
        return SCALAR_BYTES
    return _string(rules)


def _string(rules: validate_pb2.FieldRules) -> float:
    text = rules.string
    if listed := getattr(text, "in"):
        return 2 + ESCAPED_CHARACTER_BYTES * max(map(len, listed))
    characters = UUID_CHARACTERS if text.uuid else text.len or text.max_len or text.max_bytes or rules.bytes.max_len
    if not characters and text.pattern and not UNBOUNDED_PATTERN.search(text.pattern):
        characters = PATTERN_CHARACTERS
    return 2 + ESCAPED_CHARACTER_BYTES * characters if characters else math.inf
