"""A container's health check, `python -m services.deployment.health_check [SERVICE]`: it asks its own server.

It connects where the server's own settings say that it listens, with the server's own certificate.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.shared.settings import ServerSettings, SettingsError, load

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWER_SECONDS = 3.0


def main(arguments: Sequence[str]) -> None:
    """Exit with 0 if the named gRPC service (the server as a whole, if none is named) serves, else say why not."""
    service = arguments[0] if arguments else ""
    try:
        with _connect(load(ServerSettings)) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=ANSWER_SECONDS)
    except (SettingsError, OSError) as error:
        sys.exit(f"not healthy: {error}")
    except grpc.RpcError as error:
        sys.exit(f"not healthy: {error.code().name}")
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        sys.exit(f"not healthy: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")


def _connect(settings: ServerSettings) -> grpc.Channel:
    if settings.listen.startswith("unix:") or settings.mutual_tls is None:
        return grpc.insecure_channel(settings.listen)
    certificate, key, authority = settings.mutual_tls
    credentials = grpc.ssl_channel_credentials(authority.read_bytes(), key.read_bytes(), certificate.read_bytes())
    port = settings.listen.rpartition(":")[2]
    return grpc.secure_channel(f"localhost:{port}", credentials)


if __name__ == "__main__":
    main(sys.argv[1:])
