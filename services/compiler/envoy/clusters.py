"""The services behind Envoy: their replicas, how their health is known, how much is asked of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.compiler.contract import GATEWAY, HEALTH
from services.compiler.envoy import tls
from services.compiler.envoy.discovery import address, load_assignment, source
from services.compiler.envoy.profiles import (
    GATEWAY_CONSOLE,
    GATEWAY_HTTP,
    GATEWAY_REFLECTION,
    Pipe,
    ProfileError,
    found_by_dns,
)
from services.compiler.envoy.routes import between_services, checks_credentials, credentials, streams
from services.compiler.envoy.telemetry import OTLP
from services.compiler.envoy.typed import Json, typed
from services.shared.policy import INFRASTRUCTURE

if TYPE_CHECKING:
    from services.compiler.contract import Contract
    from services.compiler.envoy.profiles import Address, Profile

JWKS = "jwks"
MAX_REFLECTION_STREAMS = 128
"""Maximum number of reflection's streams, half of what the gateway serves at once."""
RETRY_BUDGET = {"budget_percent": {"value": 20}, "min_retry_concurrency": 64}
"""Retries may add a fifth to the calls in flight, or 64, and no more: they cannot keep a sick service down.

Fewer would not do for all the calls of a replica that is killed.
"""
MAX_STREAMS = 10_000
"""Maximum number of watches and long answers that all replicas of a service serve."""
MAX_CALLS = 32
"""Maximum number of calls that a replica is given on one connection.

An Envoy worker has one connection to each replica for each routing priority. What a process has not taken up yet waits
in gRPC's core, health checks and sign-out behind it, in no order but that of arrival: it is to be a short queue.

So what a service is given follows its replicas while Envoy runs, whether a file or DNS tells of them. The bounds of a
cluster do not, as Envoy has none per replica: they are compiled for the maximum number of replicas.
"""
MAX_REQUESTS = {"DEFAULT": 96, "HIGH": 80}
"""Maximum number of calls of each routing priority that a replica is given by all workers.

Together, and with MAX_CREDENTIALS, they are fewer than a process admits (MAX_CONCURRENT_RPCS): what is too much is
refused here, where it costs a process nothing.
"""
MAX_PENDING = {"DEFAULT": 128, "HIGH": 128}
"""Maximum number of calls of each routing priority that wait here, for each replica, so that a burst is no overload.

As many as are served long before their deadlines: a longer queue would be served too late for anyone.
"""
MAX_CREDENTIALS = 64
"""Maximum number of calls that check passwords, for each replica: as many as a process admits. They wait for bcrypt."""
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def clusters(profile: Profile, contract: Contract) -> list[Json]:
    """Return the clusters of all services of the contract and of the gateway's own process. Raises ProfileError."""
    names = (*contract.owners, GATEWAY, GATEWAY_HTTP)
    missing = [name for name in names if not profile.upstreams.get(name)]
    if missing:
        raise ProfileError(f"the profile has no address for {', '.join(missing)}")
    # The gateway answers for the health of all under "": its own is asked by the name of what it serves.
    checked = dict.fromkeys(contract.owners, "") | {GATEWAY: HEALTH}
    policies = [policy for policy in contract.policies.values() if policy.service_path not in INFRASTRUCTURE]
    streaming = {policy.owner for policy in policies if policy.server_streaming}
    checking = {policy.owner for policy in policies if checks_credentials(policy)}
    return [
        *(_service(profile, name, health) for name, health in checked.items()),
        *(_service(profile, name, "") | {"name": between_services(name)} for name in contract.owners),
        *(_streams(profile, name) for name in contract.owners if name in streaming),
        *(_credentials(profile, name) for name in contract.owners if name in checking),
        *([_reflection(profile), _console(profile)] if profile.reflection else []),
        _pages(profile),
        _cluster(JWKS, (profile.jwks,)),
        _collector(profile),
    ]


def listening(at: Address) -> Json:
    """Return an address to listen on; a unix socket is for this user alone."""
    return {"pipe": {"path": at.path, "mode": 0o600}} if isinstance(at, Pipe) else address(at)


def _service(profile: Profile, name: str, health: str) -> Json:
    """Return a gRPC service's cluster. A replica that does not answer is out after about two seconds."""
    return _upstream(profile, name) | {
        **_secured(profile, name, name, "h2"),
        "typed_extension_protocol_options": _http2(max_concurrent_streams=MAX_CALLS),
        "health_checks": [
            {
                "interval": "1s",
                "no_traffic_interval": "0.25s",  # A start waits for it.
                "no_traffic_healthy_interval": "1s",
                "unhealthy_interval": "0.25s",
                "timeout": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": health, "authority": name},
            }
        ],
        "outlier_detection": {
            "interval": "1s",
            "base_ejection_time": "5s",
            "max_ejection_percent": 50,
            # A service that answers UNAVAILABLE speaks of a dependency, not of itself: only broken connections count.
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "priority": priority,
                    "max_connections": 1,  # Beside the first one of each worker to each replica.
                    "max_pending_requests": MAX_PENDING[priority] * profile.replicas_of(name),
                    "max_requests": max_requests * profile.replicas_of(name),
                    "retry_budget": RETRY_BUDGET,
                }
                for priority, max_requests in MAX_REQUESTS.items()
            ]
        },
        "common_lb_config": {
            # With every replica unhealthy, fail at once: sending the calls anyway would only make them time out.
            "healthy_panic_threshold": {"value": 0},
            # Of several that become healthy one after the other, all are asked at once, not after a second.
            "update_merge_window": "0s",
        },
        # A replica that was taken away is not asked any more, whatever its health is; its calls in flight end.
        "ignore_health_on_host_removal": True,
    }


def _http2(**options: Json | int) -> Json:
    http2 = {"connection_keepalive": {"interval": "30s", "timeout": "5s"}, **options}
    return {HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": http2})}


def _streams(profile: Profile, name: str) -> Json:
    """Return a service's cluster for streams, whose number says nothing about how busy it is."""
    return _service(profile, name, "") | {
        "name": streams(name),
        "typed_extension_protocol_options": _http2(),
        "circuit_breakers": {"thresholds": [{"max_requests": MAX_STREAMS}]},
    }


def _credentials(profile: Profile, name: str) -> Json:
    """Return a service's cluster for calls that check passwords, which take a second or more."""
    most = MAX_CREDENTIALS * profile.replicas_of(name)
    return _service(profile, name, "") | {
        "name": credentials(name),
        "typed_extension_protocol_options": _http2(max_concurrent_streams=MAX_CREDENTIALS),
        # They wait in the process, which knows for how long: here only until there is a connection.
        "circuit_breakers": {"thresholds": [{"max_requests": most, "max_pending_requests": MAX_CALLS}]},
    }


def _reflection(profile: Profile) -> Json:
    """Return the gateway's cluster for reflection, with few streams: the rest of what the gateway serves is for health.

    It is not checked: the cluster of health does that.
    """
    cluster = _service(profile, GATEWAY, HEALTH)
    del cluster["health_checks"]
    return cluster | {
        "name": GATEWAY_REFLECTION,
        "alt_stat_name": GATEWAY_REFLECTION,
        "circuit_breakers": {"thresholds": [{"max_requests": MAX_REFLECTION_STREAMS}]},
    }


def _console(profile: Profile) -> Json:
    """Return the gateway's cluster for the console: its first replica, whose health is not asked."""
    return _cluster(GATEWAY, profile.upstreams[GATEWAY][:1]) | {
        "name": GATEWAY_CONSOLE,
        **_secured(profile, GATEWAY, GATEWAY, "h2"),
        "typed_extension_protocol_options": _http2(),
    }


def _collector(profile: Profile) -> Json:
    """Return the OpenTelemetry collector; nobody, where none is set."""
    return _cluster(OTLP, (profile.otlp,) if profile.otlp else ()) | {
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: typed(HTTP_OPTIONS, explicit_http_config={"http2_protocol_options": {}})
        }
    }


def _pages(profile: Profile) -> Json:
    """Return the gateway's HTTP app."""
    return _upstream(profile, GATEWAY_HTTP) | _secured(profile, GATEWAY_HTTP, GATEWAY, "http/1.1")


def _upstream(profile: Profile, name: str) -> Json:
    """Return a cluster of replicas that may change while Envoy runs: by a file, or by DNS."""
    replicas = profile.upstreams[name]
    if found_by_dns(replicas):
        return _cluster(name, replicas)
    eds = {"service_name": name, "eds_config": source(profile, name)}
    return _balanced(name) | {"type": "EDS", "eds_cluster_config": eds}


def _cluster(name: str, replicas: tuple[Address, ...]) -> Json:
    """Return a cluster of addresses that the bootstrap names."""
    return _balanced(name) | _found(replicas) | {"load_assignment": load_assignment(name, replicas)}


def _balanced(name: str) -> Json:
    return {"name": name, "connect_timeout": "1s", "lb_policy": "LEAST_REQUEST"}


def _found(replicas: tuple[Address, ...]) -> Json:
    if not found_by_dns(replicas):
        return {"type": "STATIC"}
    dns = typed(
        "envoy.extensions.clusters.dns.v3.DnsCluster",
        dns_lookup_family="V4_ONLY",  # Or "localhost" is ::1, where nobody listens.
        dns_refresh_rate="5s",  # Whatever the answer's time to live: Docker says ten minutes.
    )
    return {"cluster_type": {"name": "envoy.clusters.dns", "typed_config": dns}}


def _secured(profile: Profile, cluster: str, service: str, protocol: str) -> Json:
    """Return mutual TLS for replicas on TCP, and nothing for unix sockets."""
    if all(isinstance(replica, Pipe) for replica in profile.upstreams[cluster]):
        return {}
    return {"transport_socket": tls.mesh_client(profile, service, protocol)}
