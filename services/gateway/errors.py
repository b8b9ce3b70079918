"""What the gateway refuses before any service is asked."""

from __future__ import annotations

from services.shared.errors import InvalidArgument, NotFound, ResourceExhausted


class RouteNotFound(NotFound):
    """There is no such path with this method."""


class ContentTypeUnsupported(InvalidArgument):
    """The body's content type must be application/json, or one of gRPC's."""


class EncodingUnsupported(InvalidArgument):
    """Unsupported encoding: use gzip, deflate or identity for gRPC messages, chunked for HTTP bodies."""


class RequestTooLarge(ResourceExhausted):
    """The request is too large."""


class HttpRequestInvalid(InvalidArgument):
    """The gateway does not accept this HTTP request: look at its path, its headers and its version."""
