"""Validation rules (protovalidate) as keywords of JSON Schema, and in words where JSON Schema has none."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from services.compiler.envoy.typed import Json

FORMATS = {
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uri_ref": "uri-reference",
    "uuid": "uuid",
}
BOUNDS = {
    "const": "const",
    "gt": "exclusiveMinimum",
    "gte": "minimum",
    "lt": "exclusiveMaximum",
    "lte": "maximum",
}
WORDS = {"const": "Always", "gt": "Above", "gte": "At least", "lt": "Below", "lte": "At most"}
LENGTHS = {"min_len": "minLength", "max_len": "maxLength", "max_bytes": "maxLength"}
NUMBERS = frozenset(
    f"{sign}{kind}{bits}"
    for sign, kind in (("", "int"), ("u", "int"), ("s", "int"), ("", "fixed"), ("s", "fixed"))
    for bits in (32, 64)
) | {"float", "double"}


def rules_of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """Return the validation rules of a field."""
    rules: validate_pb2.FieldRules = field.GetOptions().Extensions[validate_pb2.field]
    return rules


def has_behavior(field: FieldDescriptor, behavior: int) -> bool:
    """Whether a field is declared to behave so (google.api.field_behavior)."""
    return behavior in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def is_required(field: FieldDescriptor) -> bool:
    """Whether requests without the field are invalid."""
    rules = rules_of(field)
    return rules.required or has_behavior(field, field_behavior_pb2.REQUIRED) or _zero_is_invalid(field, rules)


def _zero_is_invalid(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> bool:
    """Whether rules apply to a field that was left out, and its default value breaks them."""
    if field.has_presence or rules.ignore != validate_pb2.IGNORE_UNSPECIFIED:
        return False
    text, number = rules.string, _number(rules)
    if number is not None:
        return bool((number.HasField("gt") and number.gt >= 0) or number.gte > 0)
    unmatched = bool(text.pattern) and not re.search(text.pattern, "")
    least = (text.min_len, rules.repeated.min_items, rules.map.min_pairs)
    return unmatched or any(least) or text.WhichOneof("well_known") is not None


def constrained(schema: Json, rules: validate_pb2.FieldRules, field: FieldDescriptor) -> Json:
    """Return the schema of one value with its rules."""
    kind = rules.WhichOneof("type")
    schema = dict(schema)
    if kind == "string":
        schema |= _text(rules.string)
    elif kind == "bool" and rules.bool.HasField("const"):
        schema["const"] = rules.bool.const
    elif kind == "enum":
        schema |= _enum(rules.enum, field)
    elif kind in NUMBERS and schema.get("type") != "string":
        number = getattr(rules, kind)
        schema |= {keyword: getattr(number, name) for name, keyword in BOUNDS.items() if number.HasField(name)}
        if getattr(number, "in"):
            schema["enum"] = list(getattr(number, "in"))
    return schema


def sized(schema: Json, rules: validate_pb2.FieldRules) -> Json:
    """Return the schema of a list or map with the rules of its size."""
    sizes = {
        "minItems": rules.repeated.min_items,
        "maxItems": rules.repeated.max_items,
        "uniqueItems": rules.repeated.unique,
        "minProperties": rules.map.min_pairs,
        "maxProperties": rules.map.max_pairs,
    }
    return schema | {keyword: value for keyword, value in sizes.items() if value}


def in_words(rules: Message) -> Iterator[str]:
    """Yield the rules of a field, of the items of a list, or of a message, which JSON Schema cannot express."""
    yield from (_sentence(rule.message or rule.expression) for rule in getattr(rules, "cel", ()))
    if not isinstance(rules, validate_pb2.FieldRules):
        return
    kind = rules.WhichOneof("type")
    if kind in ("duration", "timestamp") or (kind in NUMBERS and kind.endswith("64")):
        limits = getattr(rules, kind)
        for name, words in WORDS.items():
            if limits.DESCRIPTOR.fields_by_name[name].has_presence and limits.HasField(name):
                yield f"{words} {_printed(getattr(limits, name))}."
    if rules.string.HasField("max_bytes"):
        yield f"At most {rules.string.max_bytes} bytes of UTF-8."
    if rules.bytes.HasField("max_len"):
        yield f"At most {rules.bytes.max_len} bytes."
    if kind == "repeated":
        yield from in_words(rules.repeated.items)


def _number(rules: validate_pb2.FieldRules) -> Any:
    kind = rules.WhichOneof("type")
    return getattr(rules, kind) if kind in NUMBERS else None


def _text(rules: validate_pb2.StringRules) -> Json:
    keywords: Json = {keyword: getattr(rules, name) for name, keyword in LENGTHS.items() if rules.HasField(name)}  # type: ignore[arg-type]
    if rules.HasField("len"):
        keywords |= {"minLength": rules.len, "maxLength": rules.len}
    if rules.HasField("pattern"):
        keywords["pattern"] = rules.pattern
    elif rules.HasField("prefix"):
        keywords["pattern"] = f"^{re.escape(rules.prefix)}"
    if rules.HasField("const"):
        keywords["const"] = rules.const
    if getattr(rules, "in"):
        keywords["enum"] = list(getattr(rules, "in"))
    well_known = rules.WhichOneof("well_known")
    return keywords | ({"format": FORMATS[well_known]} if well_known in FORMATS else {})


def _enum(rules: validate_pb2.EnumRules, field: FieldDescriptor) -> Json:
    """Return the values that are left of an enum, in place of all of them."""
    allowed, refused = set(getattr(rules, "in")), set(rules.not_in)
    if not (allowed or refused) or field.enum_type is None:
        return {}
    values = (value for value in field.enum_type.values if value.number not in refused)
    names = [value.name for value in values if not allowed or value.number in allowed]
    return {"type": "string", "enum": names}


def _printed(limit: object) -> str:
    return limit.ToJsonString() if isinstance(limit, Duration | Timestamp) else f"{limit}"


def _sentence(rule: str) -> str:
    return f"Rule: {rule.rstrip('.')}."
