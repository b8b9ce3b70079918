"""The HTTP API as an OpenAPI 3.1 document, compiled from the contract and the comments of its .proto files."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from services.compiler.openapi.access import SECURITY_SCHEMES
from services.compiler.openapi.comments import CommentError, read_comments
from services.compiler.openapi.errors import Errors
from services.compiler.openapi.parameters import HEADERS, IDEMPOTENCY_KEY
from services.compiler.openapi.routes import bindings, operation
from services.compiler.openapi.schemas import STATUS, Schemas, described, reachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.compiler.contract import Contract
    from services.compiler.envoy.typed import Json
    from services.compiler.openapi.routes import Binding

__all__ = ["CommentError", "openapi", "read_comments"]

DESCRIPTION = """\
A learn-and-earn platform: JSON over HTTP on the same port as gRPC and gRPC-Web.

Field names are lowerCamelCase, 64-bit integers are strings, times are RFC 3339, IDs are UUIDs. Fields with default
values are included in responses. Unknown query parameters are rejected; unknown fields of a body are ignored.

Errors have one shape: `google.rpc.Status`, whose details contain a `google.rpc.ErrorInfo` with the `reason`. Requests
that change something accept an `Idempotency-Key` where it is listed; a retry with the same key and the same request has
no further effect.
"""


def openapi(contract: Contract, comments: Mapping[str, str]) -> Json:
    """Return the document for all RPCs with an HTTP binding. Raises CommentError, PolicyError."""
    bound = list(_bound(contract))
    sent = frozenset(name for binding in bound for name in reachable(binding.method.input_type))
    schemas = Schemas(comments, sent)
    schemas.message(contract.pool.FindMessageTypeByName(STATUS))
    errors = Errors(contract, schemas)
    policies = contract.policies
    paths: Json = {}
    for binding in bound:
        policy = policies[f"/{binding.method.containing_service.full_name}/{binding.method.name}"]
        paths.setdefault(binding.template, {})[binding.verb] = operation(binding, policy, schemas, errors)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Azora Mesh",
            "version": version("azora-protos"),
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": list(_tags(bound, schemas)),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas.components,
            "examples": errors.examples,
            "headers": HEADERS,
            "parameters": {"Idempotency-Key": IDEMPOTENCY_KEY},
            "responses": errors.components,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _bound(contract: Contract) -> Iterator[Binding]:
    for service in contract.declared:
        for method in service.methods:
            yield from bindings(method)


def _tags(bound: list[Binding], schemas: Schemas) -> Iterator[Json]:
    services = {binding.method.containing_service.full_name: binding.method.containing_service for binding in bound}
    for name, service in sorted(services.items()):
        yield described({"name": service.name}, schemas.comment(name))
