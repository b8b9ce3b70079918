"""Envoy's own responses: the same google.rpc.Status with ErrorInfo as the services', in JSON and in gRPC.

Envoy tells why it refused a request by its status and its "response code details"; the table below turns those into
the errors of the contract. The first line that fits answers.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict
from google.rpc import code_pb2

from interceptors.errors import NO_CLIENT_RETRY, to_status
from services.compiler.envoy.flood_guard import REFILL_SECONDS
from services.compiler.envoy.typed import Json, extension
from services.compiler.errors import (
    ContentTypeUnsupported,
    EncodingUnsupported,
    HttpRequestInvalid,
    RequestTooLarge,
    RouteNotFound,
)
from services.shared import errors

if TYPE_CHECKING:
    from google.rpc.status_pb2 import Status

NATIVE_GRPC = (
    "'content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc')"
    # JSON calls look like gRPC once they are transcoded; this header tells them apart, and clients cannot send it.
    " && !('x-envoy-original-path' in request.headers)"
)
UNIMPLEMENTED = 12
CONTENT_TYPE_RULE = "content-type"
"""The name of the edge's rule about bodies, which Envoy gives as the reason of its refusal."""
ENCODING_RULE = "grpc-encoding"
"""The name of the edge's rule about compressed messages."""
INTERACTIVE_RULE = "interactive"
"""The name of the edge's rule about access tokens of API keys."""


@dataclass(frozen=True, slots=True)
class LocalReply:
    """One line of the table."""

    when: str
    """An expression (CEL) over Envoy's attributes of the request and its answer."""
    error: errors.DomainError
    status: HTTPStatus
    """What HTTP clients see; gRPC has its own code in the error."""
    explained: bool = False
    """Whether Envoy's own words are better than the error's: they name the field, or where the JSON breaks."""
    grpc_code: int | None = None
    """The code in gRPC, where custom there differs from that in JSON."""


def _rule(name: str) -> str:
    return f"response.code_details.startsWith('rbac_access_denied_matched_policy[{name}]')"


def _token(problem: str) -> str:
    return f"response.code_details.startsWith('jwt_authn_access_denied{{{problem}')"


REPLIES = (
    # First, as Envoy tries the lines one by one: when it refuses most, a refusal is to cost least.
    LocalReply(
        "response.code == 503 && "
        "(response.code_details.contains('overflow') || response.code_details.contains('overload'))",
        errors.Overloaded(retry_after_seconds=1),
        HTTPStatus.TOO_MANY_REQUESTS,
    ),
    LocalReply(_rule(CONTENT_TYPE_RULE), ContentTypeUnsupported(), HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    LocalReply(_rule(ENCODING_RULE), EncodingUnsupported(), HTTPStatus.UNSUPPORTED_MEDIA_TYPE, grpc_code=UNIMPLEMENTED),
    LocalReply("response.code == 501", EncodingUnsupported(), HTTPStatus.NOT_IMPLEMENTED, grpc_code=UNIMPLEMENTED),
    LocalReply("response.code == 404", RouteNotFound(), HTTPStatus.NOT_FOUND, grpc_code=UNIMPLEMENTED),
    LocalReply("response.code == 413", RequestTooLarge(), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    LocalReply("response.code == 431", RequestTooLarge(), HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    LocalReply(_token("Jwt_is_missing"), errors.TokenMissing(), HTTPStatus.UNAUTHORIZED),
    LocalReply(_token("Jwt_is_expired"), errors.TokenExpired(), HTTPStatus.UNAUTHORIZED),
    LocalReply(
        _token("Jwks_remote_fetch_is_failed"),
        errors.DependencyUnavailable(retry_after_seconds=1),
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    LocalReply(_token(""), errors.TokenInvalid(), HTTPStatus.UNAUTHORIZED),
    LocalReply(_rule(INTERACTIVE_RULE), errors.InteractiveSignInRequired(), HTTPStatus.FORBIDDEN),
    LocalReply("response.code == 403", errors.AccessDenied(), HTTPStatus.FORBIDDEN),
    LocalReply(
        "response.code == 429",
        errors.RateLimited(retry_after_seconds=REFILL_SECONDS),
        HTTPStatus.TOO_MANY_REQUESTS,
    ),
    LocalReply("response.code == 504 || response.code == 408", errors.DeadlinePassed(), HTTPStatus.GATEWAY_TIMEOUT),
    LocalReply(
        "response.code >= 500",
        errors.DependencyUnavailable(retry_after_seconds=1),
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    LocalReply(
        "response.code_details.contains('grpc_json_transcode_failure')",
        errors.MalformedRequest(),
        HTTPStatus.BAD_REQUEST,
        explained=True,
    ),
    LocalReply("response.code == 422", errors.MalformedRequest(), HTTPStatus.BAD_REQUEST),
    LocalReply("response.code >= 400", HttpRequestInvalid(), HTTPStatus.BAD_REQUEST),
)


def local_replies() -> Json:
    """Return the local_reply_config of a listener. Replies below 400 keep their body."""
    mappers = [mapper for reply in REPLIES for mapper in (_in_grpc(reply), _in_json(reply))]
    return {"mappers": mappers}


def _in_json(reply: LocalReply) -> Json:
    body = MessageToDict(to_status(reply.error), always_print_fields_with_no_presence=True)
    if reply.explained:
        body["message"] = "%LOCAL_REPLY_BODY%"
    return {
        "filter": _filter(reply.when),
        "status_code": int(reply.status),
        "body_format_override": {"json_format": body},
        "headers_to_add": _retry_after(reply),
    }


def _in_grpc(reply: LocalReply) -> Json:
    status = to_status(reply.error)
    if reply.grpc_code is not None:
        status.code = reply.grpc_code
    return {
        "filter": _filter(f"{NATIVE_GRPC} && ({reply.when})"),
        "status_code": int(HTTPStatus.OK),
        # All is in the headers. Under this content type Envoy leaves them to gRPC-Web clients as they are.
        "body_format_override": {
            "text_format_source": {"inline_string": ""},
            "content_type": "application/grpc-web+proto",
        },
        "headers_to_add": [
            _header("grpc-status", str(status.code)),
            _header("grpc-message", status.message),
            _header("grpc-status-details-bin", _binary(status)),
            *_retry_after(reply),
            *([_header(*NO_CLIENT_RETRY)] if status.code == code_pb2.UNAVAILABLE else []),
        ],
    }


def _binary(status: Status) -> str:
    return base64.b64encode(status.SerializeToString()).decode().rstrip("=")


def _retry_after(reply: LocalReply) -> list[Json]:
    wait_seconds = reply.error.retry_after_seconds
    return [] if wait_seconds is None else [_header("retry-after", f"{wait_seconds:.0f}")]


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _filter(expression: str) -> Json:
    return {
        "extension_filter": extension(
            "envoy.access_loggers.extension_filters.cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=expression,
        )
    }
