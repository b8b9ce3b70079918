"""Sizes that the edge and the services agree on: what the edge lets through, no service refuses."""

from __future__ import annotations

MAX_MESSAGE_BYTES = 1024 * 1024
"""Maximum size of a request message."""
MAX_STRUCT_BYTES = 4096
"""Maximum size of a google.protobuf.Struct in a request, as JSON: no rule of protovalidate bounds one."""
MAX_ELEMENTS = 12_000
"""Maximum number of elements of all lists in a request, at any depth: each costs time to validate."""
MAX_EXPLAINED_ELEMENTS = 1024
"""Maximum number of elements in a request of which all violations are listed; of a larger one only the first is."""
MAX_CONCURRENT_RPCS = 256
"""Maximum number of calls of clients, and of services, that a process serves at once, unless set.

More than Envoy gives it (services.compiler.envoy.clusters).
"""
MAX_FORM_BYTES = 16 * 1024
"""Maximum size of a form in a request, as the rules of the fields that hold one bound it."""
MAX_HEADERS_KIB = 16
"""Maximum size of a request's headers at the edge and on the mesh, as Envoy counts them."""
MAX_HEADERS = 64
"""Maximum number of headers of a request at the edge, those of HTTP/2 (":path") included."""
MAX_METADATA_BYTES = 2 * MAX_HEADERS_KIB * 1024
"""Maximum metadata of a call at a service.

gRPC adds 32 bytes to each header it counts, and Envoy adds headers of its own. Used as the soft and the hard limit:
between two different ones gRPC's core refuses at random.
"""
HEARTBEAT_SECONDS = 15
"""Interval of the heartbeats of a watch."""
FIRST_BYTES_SECONDS = 5
"""Maximum time until a new connection has ended its TLS handshake, at Envoy and at a service."""
