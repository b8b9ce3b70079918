"""Operations: one for each HTTP binding of an RPC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.api import annotations_pb2

from services.compiler.envoy.edge import EVENT_STREAM
from services.compiler.openapi.access import policy_extension, policy_in_words, security
from services.compiler.openapi.examples import field_example, request_example
from services.compiler.openapi.parameters import path_parameters, query_parameters, template, variables
from services.compiler.openapi.schemas import described

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import MethodDescriptor

    from services.compiler.envoy.typed import Json
    from services.compiler.openapi.errors import Errors
    from services.compiler.openapi.schemas import Schemas
    from services.shared.policy import MethodPolicy

JSON = "application/json"
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*")


@dataclass(frozen=True, slots=True)
class Binding:
    """One HTTP binding of an RPC."""

    method: MethodDescriptor
    verb: str
    path: str
    """As google.api.http has it: "/v1/courses/{course_id}:publish"."""
    body: str
    """Name of the field that the request body carries, `*` for all that are not in the path; empty for no body."""
    number: int
    """0 for the first binding, then those that are additional."""

    @property
    def template(self) -> str:
        """The path as OpenAPI has it."""
        return template(self.path, self.method.input_type)


def bindings(method: MethodDescriptor) -> Iterator[Binding]:
    """Yield the HTTP bindings of a method."""
    declared = method.GetOptions().Extensions[annotations_pb2.http]
    for number, rule in enumerate((declared, *declared.additional_bindings)):
        verb = rule.WhichOneof("pattern")
        if verb is not None:
            yield Binding(method, verb, getattr(rule, verb), rule.body, number)


def operation(binding: Binding, policy: MethodPolicy, schemas: Schemas, errors: Errors) -> Json:
    """Return the operation of a binding. Raises CommentError."""
    method, service = binding.method, binding.method.containing_service
    suffix = f"_{binding.number}" if binding.number else ""
    compiled: Json = {
        "operationId": f"{service.name}_{method.name}{suffix}",
        "tags": [service.name],
        "summary": _summary(method.name),
        "security": security(policy),
        "x-azora-policy": policy_extension(policy),
    }
    if method.GetOptions().deprecated:
        compiled["deprecated"] = True
    parameters = list(_parameters(binding, policy, schemas))
    if parameters:
        compiled["parameters"] = parameters
    if binding.body:
        compiled["requestBody"] = _request(binding, policy, schemas)
    compiled["responses"] = {"200": _success(method, policy, schemas), **errors.responses(method, policy)}
    comment = schemas.comment(method.full_name).replace("\nErrors: ", "\n\n**Errors**: ")
    return described(compiled, comment, policy_in_words(policy))


def _summary(name: str) -> str:
    """Return an RPC's name as words: "Request password reset"."""
    first, *rest = WORDS.findall(name)
    return " ".join((first, *(word if word.isupper() else word.lower() for word in rest)))


def _parameters(binding: Binding, policy: MethodPolicy, schemas: Schemas) -> Iterator[Json]:
    request = binding.method.input_type
    yield from path_parameters(binding.path, request, schemas)
    if binding.body != "*":
        yield from query_parameters(request, variables(binding.path) | {binding.body}, schemas)
    if policy.takes_idempotency_key:
        yield {"$ref": "#/components/parameters/Idempotency-Key"}


def _request(binding: Binding, policy: MethodPolicy, schemas: Schemas) -> Json:
    request = binding.method.input_type
    if policy.content_types:
        schema, example = _form(binding.method, schemas)
        return {"required": True, "content": {media: {"schema": schema} | example for media in policy.content_types}}
    if binding.body == "*":
        bound = variables(binding.path)
        schema, example = schemas.body(request, bound), request_example(request, bound)
    else:
        field = request.fields_by_name[binding.body]
        schema, example = schemas.field(field), field_example(field)
    content = {JSON: {"schema": schema} | ({"example": example} if example else {})}
    return {"required": bool(example), "content": content}


def _form(method: MethodDescriptor, schemas: Schemas) -> tuple[Json, Json]:
    """Return the schema and the example of a body that is no message.

    They are those of the RPC for typed clients, which has the same name with a suffix: Introspect, IntrospectToken.
    """
    methods = method.containing_service.methods
    twin = next(twin for twin in methods if twin.name != method.name and twin.name.startswith(method.name))
    return schemas.message(twin.input_type), {"example": request_example(twin.input_type)}


def _success(method: MethodDescriptor, policy: MethodPolicy, schemas: Schemas) -> Json:
    headers = ("X-Request-Id", *(("Idempotent-Replayed",) if policy.takes_idempotency_key else ()))
    response: Json = {
        "description": "Success.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
    }
    if policy.response_content_types:
        documents: Json = {media: {} for media in policy.response_content_types}
        return response | {"description": "The document.", "content": documents}
    schema = schemas.message(method.output_type)
    if not method.server_streaming:
        return response | {"content": {JSON: {"schema": schema}}}
    description = (
        "A stream of messages, each of this schema: newline-delimited JSON, or server-sent events with one message in "
        f"the `data` of each if `Accept` is `{EVENT_STREAM}`."
    )
    streamed = {JSON: {"schema": schema}, EVENT_STREAM: {"schema": schema}}
    return response | {"description": description, "content": streamed}
