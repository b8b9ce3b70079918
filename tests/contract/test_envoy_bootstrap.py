"""The compiled bootstraps: everything they name exists, Envoy takes them, and they follow the policies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.compiler.__main__ import compose_discovery_files
from services.compiler.contract import GATEWAY, load_contract
from services.compiler.envoy import (
    Certificate,
    LocalSettings,
    Profile,
    Tcp,
    compile_bootstrap,
    compose,
    discovery_files,
    local,
    write_bootstrap,
)
from services.compiler.envoy.settings import EnvoySettings
from services.deployment.pki import ensure_pki
from services.shared.descriptors import DESCRIPTORS
from services.shared.policy import INFRASTRUCTURE
from tests.support.bootstrap import routes_of, values_of
from tests.support.edge import check_envoy_takes, write_discovery

ROOT = Path(__file__).parents[2]
POLICIES = load_contract().policies


@pytest.fixture(params=["local", "local with everything", "compose", "compose scaled"])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Profile:
    """Each kind of deployment, with certificates that exist on this machine."""
    ensure_pki(tmp_path / "pki")
    certificate = Certificate(f"{tmp_path}/pki/envoy.crt", f"{tmp_path}/pki/envoy.key")
    settings = LocalSettings(runtime=Path("/tmp/azora"), pki=tmp_path / "pki")
    everything = replace(
        settings,
        replicas={"payment": 2},
        public_certificate=certificate,
        cors_origins=("https://app.example.com",),
        rate_limit_scale=100_000_000,
    )
    compiled = {"local": local(settings), "local with everything": local(everything), "compose": compose()}
    compiled["compose scaled"] = compose(EnvoySettings(replicas=3))
    return replace(
        compiled[request.param],
        discovery=str(tmp_path / "discovery"),
        certificate=certificate,
        authority=f"{tmp_path}/pki/ca.crt",
        descriptors=str(DESCRIPTORS),
    )


def test_envoy_takes_it_and_finds_nothing_deprecated(profile: Profile, tmp_path: Path) -> None:
    write_discovery(profile)
    write_bootstrap(profile, tmp_path / "envoy.json")
    check_envoy_takes(tmp_path / "envoy.json")


def test_every_cluster_and_requirement_that_is_named_exists(profile: Profile) -> None:
    bootstrap = compile_bootstrap(profile)
    clusters = {cluster["name"] for cluster in bootstrap["static_resources"]["clusters"]}
    assert set(values_of(bootstrap["static_resources"]["listeners"], "cluster")) <= clusters
    (requirements,) = values_of(bootstrap, "requirement_map")
    assert set(values_of(bootstrap, "requirement_name")) == requirements.keys()
    (providers,) = values_of(bootstrap, "providers")
    assert set(values_of(requirements, "provider_name")) == providers.keys()


def test_every_public_method_has_a_route_at_the_edge_and_no_internal_one_has(profile: Profile) -> None:
    public = {policy.path for policy in POLICIES.values() if not policy.internal} - {"/grpc.health.v1.Health/Watch"}
    if not profile.reflection:
        public -= {path for path in public if path.startswith(("/grpc.reflection.", "/azora.gateway."))}
    assert rpc_routes(profile, "edge").keys() == public
    transcoded = set(filters(profile, "edge")["envoy.filters.http.grpc_json_transcoder"]["services"])
    assert transcoded == {path.split("/")[1] for path in public} - INFRASTRUCTURE


def test_a_method_needs_a_token_unless_it_is_public(profile: Profile) -> None:
    for path, route in rpc_routes(profile, "edge").items():
        requirement = route["typed_per_filter_config"]["envoy.filters.http.jwt_authn"]
        expected = "optional" if POLICIES[path].public else "required"
        assert requirement.get("disabled") or requirement["requirement_name"] == expected


@pytest.mark.parametrize("listener", ["edge", "mesh"])
def test_time_and_retries_follow_the_policies(profile: Profile, listener: str) -> None:
    for path, route in rpc_routes(profile, listener).items():
        policy, action = POLICIES[path], route["route"]
        limit = "15s" if path.startswith("/grpc.reflection.") else f"{policy.timeout_seconds:g}s"
        assert action["max_stream_duration"] == {"max_stream_duration": limit, "grpc_timeout_header_max": limit}
        assert "timeout" not in action, "the two silently break each other"
        retries = action["retry_policy"]
        retried, repeatable = retries["retry_on"].split(","), policy.retry_safe and not policy.server_streaming
        assert retried == ["connect-failure", "refused-stream", *(["reset", "unavailable"] if repeatable else [])]
        server = GATEWAY if policy.service_path in INFRASTRUCTURE else policy.owner
        replicated = profile.replicas_of(server) > 1
        assert ("per_try_timeout" in retries) is (repeatable and replicated)
        assert ("hedge_policy" in action) is (repeatable and replicated and policy.no_side_effects)


def test_the_mesh_admits_whom_the_policies_name(profile: Profile) -> None:
    rules = filters(profile, "mesh")["envoy.filters.http.rbac"]["rules"]
    assert rules["action"] == "ALLOW"
    admitted: dict[str, set[str]] = {}
    for caller, rule in rules["policies"].items():
        for permission in rule["permissions"]:
            admitted.setdefault(permission["url_path"]["path"]["exact"], set()).add(caller)
    for path, policy in POLICIES.items():
        if policy.service_path in INFRASTRUCTURE:
            assert admitted.get(path, set()) == ({"gateway"} if path.endswith("/Check") else set())
        elif policy.public or policy.signed_in:
            assert admitted[path] == {"any"}
        else:
            assert admitted.get(path, set()) == policy.services


def test_who_listens_on_the_network_asks_for_a_certificate(profile: Profile) -> None:
    for cluster in compile_bootstrap(profile)["static_resources"]["clusters"]:
        static = cluster.get("load_assignment", {}).get("cluster_name")
        service = cluster.get("eds_cluster_config", {}).get("service_name", static)
        over_tcp = any(isinstance(replica, Tcp) for replica in profile.upstreams.get(service, ()))
        assert ("transport_socket" in cluster) is over_tcp, cluster["name"]
        assert service in profile.upstreams or service in ("jwks", "otlp")
    mesh = listener_of(profile, "mesh")["filter_chains"][0]["transport_socket"]["typed_config"]
    assert mesh["require_client_certificate"] is True


def test_sockets_and_admin_are_for_this_user_alone(profile: Profile) -> None:
    bootstrap = compile_bootstrap(profile)
    listening = [bootstrap["admin"], *bootstrap["static_resources"]["listeners"]]
    pipes = [place["address"]["pipe"] for place in listening if "pipe" in place["address"]]
    assert pipes
    assert {pipe["mode"] for pipe in pipes} == {0o600}
    assert bootstrap["admin"]["address"]["pipe"] in pipes
    assert bootstrap["admin"]["allow_paths"]


def test_the_ports_are_shared_with_no_other_envoy(profile: Profile) -> None:
    for listener in compile_bootstrap(profile)["static_resources"]["listeners"]:
        assert listener["enable_reuse_port"] is False


def test_every_file_that_is_discovered_is_written(profile: Profile) -> None:
    bootstrap = compile_bootstrap(profile)
    sources = list(values_of(bootstrap, "path_config_source"))
    assert {source["watched_directory"]["path"] for source in sources} == {profile.discovery}
    assert {source["path"] for source in sources} == {
        f"{profile.discovery}/{name}" for name in discovery_files(profile)
    }
    assert not list(values_of(bootstrap, "tls_certificates")), "these are read once"
    assert not list(values_of(bootstrap, "trusted_ca"))


def test_what_is_committed_is_what_compiles() -> None:
    assert json.loads((ROOT / "envoy/compose.json").read_text()) == compile_bootstrap(compose())
    files = {path.name: path.read_text() for path in (ROOT / "envoy/discovery").iterdir()}
    assert files == compose_discovery_files()


def listener_of(profile: Profile, name: str) -> dict[str, Any]:
    (found,) = (
        listener for listener in compile_bootstrap(profile)["static_resources"]["listeners"] if listener["name"] == name
    )
    return dict(found)


def manager(profile: Profile, name: str) -> dict[str, Any]:
    (chain,) = listener_of(profile, name)["filter_chains"]
    return dict(chain["filters"][-1]["typed_config"])


def filters(profile: Profile, name: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each["typed_config"] for each in reversed(manager(profile, name)["http_filters"])}


def rpc_routes(profile: Profile, name: str) -> dict[str, dict[str, Any]]:
    routes = routes_of(listener_of(profile, name))
    return {route["match"]["path"]: route for route in routes if route["match"].get("path") in POLICIES}
