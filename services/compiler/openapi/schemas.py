"""Messages and enums of the contract as JSON Schema, as protobuf's JSON mapping and Envoy print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buf.validate import validate_pb2
from google.api import field_behavior_pb2

from services.compiler.openapi.examples import scalar_example
from services.compiler.openapi.rules import constrained, has_behavior, in_words, is_required, rules_of, sized
from services.compiler.openapi.scalars import SCALARS, WELL_KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

    from services.compiler.envoy.typed import Json

STATUS = "google.rpc.Status"
FOREIGN_COMMENTS = {
    STATUS: "An error: a gRPC status with its details.",
    f"{STATUS}.code": "gRPC status code (google.rpc.Code).",
    f"{STATUS}.message": "Error message in English, for developers.",
    f"{STATUS}.details": "Details: always a google.rpc.ErrorInfo with the `reason`; google.rpc.BadRequest with the "
    "invalid fields, google.rpc.RetryInfo with the delay before the next attempt.",
}
"""Comments of what other projects declare, whose .proto files are not compiled here."""


class Schemas:
    """The components of a document: collects every message and enum that is referred to."""

    def __init__(self, comments: Mapping[str, str], sent: frozenset[str]) -> None:
        """`sent` has the full names of all messages that clients send."""
        self._comments = FOREIGN_COMMENTS | dict(comments)
        self._sent = sent
        self._components: Json = {}

    @property
    def components(self) -> Json:
        """The schemas by full name."""
        return dict(sorted(self._components.items()))

    def comment(self, full_name: str) -> str:
        """Return the comment of a declaration, or an empty text."""
        return self._comments.get(full_name, "")

    def message(self, message: Descriptor) -> Json:
        """Return a reference to a message's schema."""
        name = message.full_name
        if name in WELL_KNOWN:
            return dict(WELL_KNOWN[name])
        if name not in self._components:
            self._components[name] = {}  # For messages that contain themselves.
            self._components[name] = self._object(message, frozenset())
        return _reference(name)

    def body(self, message: Descriptor, bound: frozenset[str]) -> Json:
        """Return a reference to the schema of a request body: a message without the fields that the path binds."""
        if not bound:
            return self.message(message)
        name = "-".join((message.full_name, "without", *sorted(bound)))
        self._components[name] = self._object(message, bound)
        return _reference(name)

    def field(self, field: FieldDescriptor) -> Json:
        """Return the schema of a field."""
        rules = rules_of(field)
        entry = field.message_type if field.message_type and field.message_type.GetOptions().map_entry else None
        if entry:
            value = entry.fields_by_name["value"]
            values = constrained(self._value(value), rules.map.values, value)
            schema = sized({"type": "object", "additionalProperties": values}, rules)
        elif field.is_repeated:
            items = constrained(self._value(field), rules.repeated.items, field)
            schema = sized({"type": "array", "items": items}, rules)
        else:
            schema = constrained(self._value(field), rules, field)
            example = scalar_example(field, schema)
            schema |= {} if example is None else {"examples": [example]}
        if has_behavior(field, field_behavior_pb2.OUTPUT_ONLY):
            schema["readOnly"] = True
        if has_behavior(field, field_behavior_pb2.INPUT_ONLY):
            schema["writeOnly"] = True
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        return described(schema, self.comment(field.full_name), *in_words(rules))

    def _object(self, message: Descriptor, bound: frozenset[str]) -> Json:
        fields = [field for field in message.fields if field.name not in bound]
        schema: Json = {"type": "object", "properties": {field.json_name: self.field(field) for field in fields}}
        required = [field.json_name for field in fields if self._is_always_there(message, field)]
        schema |= {"required": required} if required else {}
        groups = list(_oneofs(message, bound))
        schema |= {"allOf": groups} if groups else {}
        rules = message.GetOptions().Extensions[validate_pb2.message]
        return described(schema, self.comment(message.full_name), *in_words(rules))

    def _is_always_there(self, message: Descriptor, field: FieldDescriptor) -> bool:
        """Whether a property is required: in what clients send by its rules, in the rest if Envoy prints defaults."""
        return is_required(field) if message.full_name in self._sent else not field.has_presence

    def _value(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            return self.message(field.message_type)
        return self._enum(field.enum_type) if field.enum_type is not None else dict(SCALARS[field.type])

    def _enum(self, enum: EnumDescriptor) -> Json:
        name = enum.full_name
        if name not in self._components:
            meanings = ((value.name, self.comment(_value_name(enum, value.name))) for value in enum.values)
            lines = (f"- `{value}`: {' '.join(meaning.split())}" for value, meaning in meanings if meaning)
            schema: Json = {"type": "string", "enum": [value.name for value in enum.values]}
            self._components[name] = described(schema, self.comment(name), "\n".join(lines))
        return _reference(name)


def described(schema: Json, *paragraphs: str) -> Json:
    """Return a schema, or anything that may be described, with a description."""
    text = "\n\n".join(filter(None, paragraphs))
    return schema | {"description": text} if text else schema


def reachable(message: Descriptor) -> Iterator[str]:
    """Yield the full names of a message and all messages within it."""
    pending, known = [message], {message.full_name}
    while pending:
        current = pending.pop()
        yield current.full_name
        inner = {field.message_type.full_name: field.message_type for field in current.fields if field.message_type}
        pending += [inner[name] for name in inner if name not in known]
        known |= inner.keys()


def _oneofs(message: Descriptor, bound: frozenset[str]) -> Iterator[Json]:
    for oneof in message.oneofs:
        fields = [field for field in oneof.fields if field.name not in bound]
        if oneof.name.startswith("_") or not fields:
            continue  # Fields that are `optional`, or all in the path.
        choices: list[Json] = [{"required": [field.json_name]} for field in fields]
        must = oneof.GetOptions().Extensions[validate_pb2.oneof].required
        yield {"oneOf": choices if must else [*choices, {"not": {"anyOf": choices}}]}


def _value_name(enum: EnumDescriptor, value: str) -> str:
    return f"{enum.full_name}.{value}"


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
