"""JSON over HTTP, translated to gRPC by the google.api.http bindings of the contract."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.api import annotations_pb2

from services.compiler import request_size
from services.compiler.envoy.typed import Json, typed
from services.shared.limits import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.descriptor import MethodDescriptor

    from services.compiler.envoy.profiles import Profile

FILTER = "envoy.filters.http.grpc_json_transcoder"
VARIABLE = re.compile(r"\\\{[^}]*\}")
SMALL_REQUEST_BYTES = 64 * 1024
"""What all methods get whose request the contract bounds below it."""
MAX_RESPONSE_BYTES = 4 * 1024 * 1024


def transcoder(profile: Profile, services: Sequence[str]) -> Json:
    """Return the filter for these gRPC services. What they do not bind is refused here, and goes nowhere."""
    return {"name": FILTER, "typed_config": _transcoder(profile, services, SMALL_REQUEST_BYTES)}


def large_requests(profile: Profile, services: Sequence[str]) -> Json:
    """Return what a JSON route needs whose requests are larger than most."""
    return {FILTER: _transcoder(profile, services, MAX_MESSAGE_BYTES)}


def server_sent_events(profile: Profile, services: Sequence[str]) -> Json:
    """Return what a JSON route needs whose messages are server-sent events."""
    return {FILTER: _transcoder(profile, services, SMALL_REQUEST_BYTES, stream_sse_style_delimited=True)}


def json_matches(method: MethodDescriptor) -> Iterator[Json]:
    """Yield the matches of the HTTP requests that the transcoder turns into a method's calls."""
    bound = method.GetOptions().Extensions[annotations_pb2.http]
    for rule in (bound, *bound.additional_bindings):
        verb = rule.WhichOneof("pattern")
        if verb is not None:
            path = VARIABLE.sub("[^/]+", re.escape(getattr(rule, verb)))
            header = {"name": ":method", "string_match": {"exact": verb.upper()}}
            yield {"safe_regex": {"regex": path}, "headers": [header]}


def max_request_bytes(method: MethodDescriptor) -> int:
    """Return the maximum size of a method's request: small, unless the contract allows more."""
    fits = request_size.max_request_bytes(method.input_type) <= SMALL_REQUEST_BYTES
    return SMALL_REQUEST_BYTES if fits else MAX_MESSAGE_BYTES


def _transcoder(profile: Profile, services: Sequence[str], max_bytes: int, **print_options: bool) -> Json:
    return typed(
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=profile.descriptors,
        services=list(services),
        convert_grpc_status=True,
        max_request_body_size=max_bytes,
        max_response_body_size=MAX_RESPONSE_BYTES,
        url_unescape_spec="ALL_CHARACTERS_EXCEPT_SLASH",
        query_param_unescape_plus=True,
        match_unregistered_custom_verb=True,  # Or /v1/courses/1:bogus reads the course "1:bogus".
        print_options={"always_print_primitive_fields": True, **(print_options or {"stream_newline_delimited": True})},
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            # Or a field of the body overrides the one in the path, and with it whose object is meant.
            "reject_binding_body_field_collisions": True,
        },
    )


def not_transcoded() -> Json:
    """Return what a route needs whose requests are not RPCs."""
    return {FILTER: typed("envoy.config.route.v3.FilterConfig", disabled=True)}
