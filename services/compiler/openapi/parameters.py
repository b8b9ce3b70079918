"""Parameters of an operation: those of its path, its query and its headers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.compiler.openapi.rules import is_required
from services.compiler.openapi.scalars import WELL_KNOWN
from services.compiler.openapi.schemas import described

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from services.compiler.envoy.typed import Json
    from services.compiler.openapi.schemas import Schemas

VARIABLE = re.compile(r"\{([a-z_]+)\}")
"""A path variable: one segment, as all of the contract's are."""
IDEMPOTENCY_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Idempotency key; a UUID is recommended. Retrying with the same key returns the original response "
    "for at least 24 hours. Equivalent to `requestId` in the request.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
HEADERS: Json = {
    "Idempotent-Replayed": {
        "description": "`true` if the response is that of an earlier call with the same idempotency key.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "Delay before the next attempt, in seconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Request-Id": {
        "description": "ID of the request, under which the server logged it.",
        "schema": {"type": "string"},
    },
}


def variables(path: str) -> frozenset[str]:
    """Return the fields that a path binds."""
    return frozenset(VARIABLE.findall(path))


def template(path: str, request: Descriptor) -> str:
    """Return a path with its variables named as in JSON."""
    return VARIABLE.sub(lambda found: f"{{{request.fields_by_name[found[1]].json_name}}}", path)


def path_parameters(path: str, request: Descriptor, schemas: Schemas) -> Iterator[Json]:
    """Yield the parameters of a path, in order."""
    for name in VARIABLE.findall(path):
        yield _parameter(request.fields_by_name[name], "path", schemas) | {"required": True}


def query_parameters(
    request: Descriptor, excluded: frozenset[str], schemas: Schemas, prefix: str = ""
) -> Iterator[Json]:
    """Yield a parameter for each field that is in neither path nor body; those of messages have dotted names."""
    for field in request.fields:
        if field.name in excluded:
            continue
        if field.message_type is None or field.message_type.full_name in WELL_KNOWN:
            yield _parameter(field, "query", schemas, prefix)
        elif not field.is_repeated:
            yield from query_parameters(field.message_type, frozenset(), schemas, f"{prefix}{field.json_name}.")


def _parameter(field: FieldDescriptor, where: str, schemas: Schemas, prefix: str = "") -> Json:
    schema = schemas.field(field)
    description = schema.pop("description", "")
    parameter: Json = {"name": f"{prefix}{field.json_name}", "in": where}
    if is_required(field) and not prefix:  # Whoever leaves a message out leaves out its fields.
        parameter["required"] = True
    return described(parameter | {"schema": schema}, description)
