"""JSON over HTTP, translated to gRPC by the google.api.http bindings of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.envoy.typed import Json, extension, typed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.compiler.envoy.profiles import Profile

FILTER = "envoy.filters.http.grpc_json_transcoder"
MAX_REQUEST_BYTES = 1024 * 1024
MAX_RESPONSE_BYTES = 4 * 1024 * 1024


def transcoder(profile: Profile, services: Sequence[str]) -> Json:
    """Return the filter for these gRPC services. What they do not bind is refused here, and goes nowhere."""
    return extension(
        FILTER,
        "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=profile.descriptors,
        services=list(services),
        convert_grpc_status=True,
        max_request_body_size=MAX_REQUEST_BYTES,
        max_response_body_size=MAX_RESPONSE_BYTES,
        url_unescape_spec="ALL_CHARACTERS_EXCEPT_SLASH",
        query_param_unescape_plus=True,
        match_unregistered_custom_verb=True,  # Or /v1/courses/1:bogus reads the course "1:bogus".
        print_options={"always_print_primitive_fields": True, "stream_newline_delimited": True},
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
