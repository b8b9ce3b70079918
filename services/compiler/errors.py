"""Errors that Envoy answers before a call reaches a service. Reasons: azora/policy/v1/error_reason.proto."""

from __future__ import annotations

from services.shared.errors import InvalidArgument, NotFound, ResourceExhausted


class RouteNotFound(NotFound):
    """No RPC is published under this path and HTTP method."""


class ContentTypeUnsupported(InvalidArgument):
    """Unsupported content type: use gRPC or what the method accepts, application/json unless it declares another."""


class EncodingUnsupported(InvalidArgument):
    """Unsupported encoding: use gzip, deflate or identity for gRPC messages, chunked for HTTP bodies."""


class RequestTooLarge(ResourceExhausted):
    """The request exceeds the size limit."""


class HttpRequestInvalid(InvalidArgument):
    """Invalid HTTP request: check its path, headers and protocol version."""
