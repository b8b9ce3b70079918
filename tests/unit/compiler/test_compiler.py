"""The compiler refuses what could not be enforced, and shows people what it made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.compiler.__main__ import main
from services.compiler.contract import contract_of, load_contract
from services.compiler.envoy import LocalSettings, Pipe, ProfileError, compile_bootstrap, compose, local, socket_path
from services.compiler.envoy.__main__ import main as envoy_main
from services.compiler.envoy.settings import EnvoySettings
from services.compiler.envoy.typed import readable
from services.compiler.kubernetes import kubernetes_files
from services.compiler.policy_table import policy_table
from services.shared.descriptors import DESCRIPTORS
from services.shared.policy import PolicyError

if TYPE_CHECKING:
    from services.compiler.envoy import Profile

RUNTIME = Path("/tmp/azora")


def descriptors() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())


def test_a_method_without_a_policy_does_not_compile() -> None:
    unfinished = descriptors()
    file = next(file for file in unfinished.file if file.name.endswith("wallet_service.proto"))
    file.service[0].method.add(
        name="Forgotten",
        input_type=".azora.payment.v1.GetWalletRequest",
        output_type=".azora.payment.v1.GetWalletResponse",
    )
    with pytest.raises(PolicyError, match="WalletService/Forgotten has no policy"):
        compile_bootstrap(compose(), contract_of(unfinished))


def test_a_new_method_needs_nothing_but_its_proto() -> None:
    extended = descriptors()
    file = next(file for file in extended.file if file.name.endswith("wallet_service.proto"))
    added = file.service[0].method.add()
    added.CopyFrom(file.service[0].method[0])
    added.name = "GetWalletAgain"
    compiled = json.dumps(compile_bootstrap(compose(), contract_of(extended)))
    assert compiled.count('"/azora.payment.v1.WalletService/GetWalletAgain"') == 5, (
        "a key of the path map and a match for edge and mesh each, and one RBAC rule"
    )
    assert "| GetWalletAgain |" in policy_table(contract_of(extended))


def test_a_service_that_nobody_serves_does_not_compile() -> None:
    profile = compose()
    rest = {name: where for name, where in profile.upstreams.items() if name != "payment"}
    with pytest.raises(ProfileError, match="no address for payment"):
        compile_bootstrap(replace(profile, upstreams=rest))


def test_a_socket_that_the_kernel_would_refuse_is_refused_with_a_reason() -> None:
    with pytest.raises(ProfileError, match="over 107 bytes: use a shorter folder"):
        local(LocalSettings(runtime=RUNTIME / ("a" * 100), pki=RUNTIME))


def test_each_replica_has_a_socket_of_its_own() -> None:
    profile = local(LocalSettings(runtime=RUNTIME, pki=RUNTIME, replicas={"payment": 3}))
    names = [f"{RUNTIME}/payment.sock", f"{RUNTIME}/payment-1.sock", f"{RUNTIME}/payment-2.sock"]
    assert profile.upstreams["payment"] == tuple(map(Pipe, names))
    assert [str(socket_path(RUNTIME, "payment", replica)) for replica in range(3)] == names


def test_a_local_system_is_its_own_issuer_and_never_what_a_client_calls_it() -> None:
    settings = LocalSettings(runtime=RUNTIME, pki=RUNTIME, port=9090, jwks_cache_seconds=7)
    compiled = readable(compile_bootstrap(local(settings)))
    assert '"issuer": "http://localhost:9090"' in compiled
    assert '"cache_duration": "7s"' in compiled
    elsewhere = replace(settings, public_url="https://learn.example.com")
    assert '"issuer": "https://learn.example.com"' in readable(compile_bootstrap(local(elsewhere)))


def test_proxies_before_us_are_believed_only_when_there_are_some() -> None:
    edge = readable(compile_bootstrap(replace(compose(), trusted_proxies=1)))
    assert '"xff_num_trusted_hops": 1' in edge
    assert '"xff_num_trusted_hops": 0' in readable(compile_bootstrap(compose()))


def test_containers_take_their_public_port_from_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "AZORA_TRUSTED_PROXIES": "2",
        "AZORA_PUBLIC_CERTIFICATE_DIR": "/etc/tls",
        "AZORA_CORS_ORIGINS": "https://app.example.com, https://admin.example.com",
        "AZORA_RATE_LIMITS": "MONEY.per_user=120",
        "AZORA_OTLP_ENDPOINT": "http://collector:4317",
        "AZORA_TRACE_SAMPLE_RATIO": "0.1",
        "AZORA_PUBLIC_URL": "https://learn.example.com/",
        "AZORA_AUDIENCE": "learners",
        "AZORA_JWKS_CACHE_SECONDS": "7",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    envoy_main([str(tmp_path / "envoy.json")])
    compiled = (tmp_path / "envoy.json").read_text()
    for part in (
        '"xff_num_trusted_hops": 2',
        '"name": "public-certificate"',
        '"max_tokens": 600',
        '{"exact": "https://admin.example.com"}',
        '{"address": "collector", "port_value": 4317}',
        '"random_sampling": {"value": 10.0}',
        '"issuer": "https://learn.example.com"',
        '"audiences": ["learners"]',
        '"cache_duration": "7s"',
    ):
        assert part in compiled, part
    assert "localhost" not in compiled
    assert "ServerReflectionInfo" not in compiled


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AZORA_TRUSTED_PROXIES", "-1"),
        ("AZORA_REPLICAS", "0"),
        ("AZORA_OTLP_ENDPOINT", "collector"),
        ("AZORA_TRACE_SAMPLE_RATIO", "2"),
        ("AZORA_RATE_LIMITS", "MONEY.per_user=0"),
        ("AZORA_CORS_ORIGINS", "*"),
        ("AZORA_CORS_ORIGINS", "https://*.example.com"),
        ("AZORA_CORS_ORIGINS", "null"),
        ("AZORA_CORS_ORIGINS", "https://app.example.com/"),
        ("AZORA_PUBLIC_URL", "http://api.example.com"),
        ("AZORA_CORS_ORIGINS", "app.example.com"),
        ("AZORA_CORS_ORIGINS", "http://app.example.com"),
        ("AZORA_CORS_ORIGINS", "https://app.example.com,http://localhost:5173"),
    ],
)
def test_settings_of_the_public_port_that_cannot_work_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="invalid settings"):
        envoy_main([str(tmp_path / "envoy.json")])


def test_transport_security_is_promised_where_it_is_given() -> None:
    certificate = compose().certificate
    assert "strict-transport-security" not in readable(compile_bootstrap(compose()))
    assert "strict-transport-security" in readable(
        compile_bootstrap(replace(compose(), public_certificate=certificate))
    )


def test_readable_json_is_the_same_json() -> None:
    bootstrap = compile_bootstrap(compose())
    assert json.loads(readable(bootstrap)) == bootstrap
    assert readable({"short": [1, {"a": None}]}) == '{"short": [1, {"a": null}]}'


def test_the_command_writes_what_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["compiler", str(tmp_path)])
    main()
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        "generated/azora/openapi.json",
        "generated/azora/service_config.json",
        "envoy/compose.json",
        "envoy/kubernetes.json",
        *(f"deploy/kubernetes/{name}" for name in kubernetes_files(load_contract())),
        *(f"envoy/discovery/{name}.json" for name in ("mesh-authority", "mesh-certificate", "public-certificate")),
        "docs/errors.md",
        "docs/events.md",
        "docs/policies.md",
    }


def test_the_contract_is_all_services_and_those_of_grpc() -> None:
    contract = load_contract()
    assert set(contract.names) >= {
        "azora.payment.v1.WalletService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert contract.owners == ("auth", "education", "payment")


def test_circuit_breakers_are_compiled_for_the_maximum_number_of_replicas() -> None:
    one, six = (thresholds_of(compose(EnvoySettings(replicas=count)), "payment") for count in (1, 6))
    for field in ("max_requests", "max_pending_requests"):
        assert [6 * each[field] for each in one] == [each[field] for each in six]


def thresholds_of(profile: Profile, name: str) -> list[dict[str, Any]]:
    clusters = compile_bootstrap(profile)["static_resources"]["clusters"]
    (found,) = [cluster["circuit_breakers"]["thresholds"] for cluster in clusters if cluster["name"] == name]
    return list(found)
