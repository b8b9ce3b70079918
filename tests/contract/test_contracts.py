"""What the contracts promise about themselves: nothing is served without a policy, no reason is unnamed."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from azora.policy.v1 import error_reason_pb2, permission_pb2, policy_pb2
from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

import services
from services.payment.app import CALLERS_FOR_USERS
from services.shared import errors
from services.shared.policy import (
    MethodPolicy,
    PolicyError,
    compile_policies,
    infrastructure_policies,
    role_permissions,
)
from services.shared.server import Registration
from tests.support.serving import Signer, serving

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from tests.support.services import SERVICES


def _pool() -> tuple[descriptor_pool.DescriptorPool, FileDescriptorSet]:
    descriptors = FileDescriptorSet.FromString(files("azora").joinpath("descriptors.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in descriptors.file:
        pool.Add(file)
    return pool, descriptors


def contract_services() -> list[ServiceDescriptor]:
    """All services of the contracts, through the generated modules (whose options are parsed with their extensions)."""
    _, descriptors = _pool()
    found: list[Any] = []
    for file in descriptors.file:
        if file.name.startswith("azora/") and file.service:
            module = importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
            found += module.DESCRIPTOR.services_by_name.values()
    return found


def methods() -> list[MethodDescriptor]:
    return [method for service in contract_services() for method in service.methods]


@pytest.fixture(scope="module")
def policies() -> dict[str, MethodPolicy]:
    return dict(compile_policies(contract_services()))


def test_every_method_has_a_policy(policies: dict[str, MethodPolicy]) -> None:
    assert len(policies) == len(methods()) > 25


def _service(**policy: Any) -> Any:
    """Return a service like one that someone forgot to finish."""
    file = FileDescriptorProto(name="t.proto", package="azora.test.v1", syntax="proto3")
    file.dependency.append("azora/policy/v1/policy.proto")
    file.message_type.add(name="M")
    method = file.service.add(name="TestService").method.add(
        name="Do", input_type=".azora.test.v1.M", output_type=".azora.test.v1.M"
    )
    if policy:
        method.options.Extensions[policy_pb2.policy].CopyFrom(policy_pb2.Policy(**policy))
    pool = descriptor_pool.DescriptorPool()
    for name in ("google/protobuf/descriptor.proto", "google/protobuf/duration.proto"):
        pool.Add(_file(name))
    for name in ("azora/policy/v1/permission.proto", "azora/policy/v1/policy.proto"):
        pool.Add(_file(name))
    pool.Add(file)
    return pool.FindServiceByName("azora.test.v1.TestService")


def _file(name: str) -> FileDescriptorProto:
    proto = FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(proto)
    return proto


GOOD: dict[str, Any] = {
    "access": [policy_pb2.Access(public=True)],
    "rate_tier": policy_pb2.RATE_TIER_PUBLIC,
    "timeout": {"seconds": 1},
}


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ({}, "has no policy"),
        ({**GOOD, "access": []}, "has no access rule"),
        ({**GOOD, "rate_tier": 0}, "has no rate tier"),
        ({**GOOD, "timeout": None}, "has no timeout"),
        ({**GOOD, "acting_user_field": "nobody"}, "refers to the unknown field nobody"),
        ({**GOOD, "idempotency_key": True}, "has no request_id"),
        ({**GOOD, "requires_fresh_sessions": True}, "requires fresh sessions, but is public"),
        ({**GOOD, "content_types": ["text/plain"]}, "must declare content types if"),
        ({**GOOD, "response_content_types": ["text/plain"]}, "must declare response content types if"),
        ({**GOOD, "access": [policy_pb2.Access(publishers=True)]}, "no event names test as a subscriber"),
    ],
)
def test_a_policy_that_is_missing_or_unfinished_does_not_compile(policy: dict[str, Any], complaint: str) -> None:
    with pytest.raises(PolicyError, match=complaint):
        compile_policies([_service(**policy)])


async def test_a_server_with_an_rpc_without_policy_does_not_start() -> None:
    service = Registration(_service(), object(), lambda *_: None)
    with pytest.raises(PolicyError, match="TestService/Do has no policy"):
        async with serving([service], Signer()):
            pass


def test_a_finished_policy_compiles() -> None:
    assert compile_policies([_service(**GOOD)])["/azora.test.v1.TestService/Do"].public


def test_answers_to_services_that_act_for_a_person_are_erased_with_theirs(policies: dict[str, MethodPolicy]) -> None:
    acting: dict[str, set[str]] = {}
    for policy in policies.values():
        if policy.acting_user_field and policy.takes_idempotency_key:
            acting.setdefault(policy.owner, set()).update(policy.services)
    assert acting == {"payment": set(CALLERS_FOR_USERS)}


def test_what_money_moves_takes_an_idempotency_key(policies: dict[str, MethodPolicy]) -> None:
    for policy in policies.values():
        if policy.tier is not None and policy.tier.name == "MONEY":
            assert policy.takes_idempotency_key, policy.path
        if policy.takes_idempotency_key:
            assert policy.retry_safe, policy.path


def test_what_moves_money_or_administers_requires_fresh_sessions(policies: dict[str, MethodPolicy]) -> None:
    granted = role_permissions()
    administration = granted["ROLE_ADMIN"] - granted["ROLE_EDUCATOR"] - granted["ROLE_STUDENT"]
    for policy in policies.values():
        money = policy.tier is not None and policy.tier.name == "MONEY"
        others = policy.public or policy.signed_in or policy.permissions - administration
        assert policy.requires_fresh_sessions is (money or bool(policy.permissions and not others)), policy.path


INTERACTIVE = {
    "AuthService": {
        "Logout",
        "ChangePassword",
        "RequestPasswordReset",
        "ResetPassword",
        "RequestEmailVerification",
        "VerifyEmail",
        "ChangeEmail",
        "ExportMyData",
        "DeleteMyAccount",
    },
    "ApiKeyService": {"CreateApiKey", "ListApiKeys", "RevokeApiKey"},
}
"""Of services that have other methods, too, those on credentials, sessions, erasure and export."""
WHOLLY_INTERACTIVE = {"ConsoleService", "DeviceService", "MailService", "MfaService", "SessionService", "UserService"}
FOR_KEYS = {"ListRoles"}
"""Of these: what the contract says of roles, which is no user's."""


def test_methods_on_credentials_and_users_are_interactive(policies: dict[str, MethodPolicy]) -> None:
    for method in methods():
        service = method.containing_service.name
        policy = policies[f"/{method.containing_service.full_name}/{method.name}"]
        wholly = service in WHOLLY_INTERACTIVE and method.name not in FOR_KEYS
        expected = wholly or method.name in INTERACTIVE.get(service, set())
        assert policy.interactive is expected, policy.path


def test_every_other_service_polls_what_auth_revokes(policies: dict[str, MethodPolicy]) -> None:
    path = "/azora.auth.v1.InternalService/ListRevocations"
    assert policies[path].services == {*SERVICES, "gateway"} - {"auth"}


def test_internal_methods_have_no_route_and_all_others_have_one(policies: dict[str, MethodPolicy]) -> None:
    for method in methods():
        policy = policies[f"/{method.containing_service.full_name}/{method.name}"]
        routed = method.GetOptions().HasExtension(annotations_pb2.http)
        assert routed is not policy.internal, policy.path
        assert (method.containing_service.name == "InternalService") is policy.internal, policy.path


POSTED_READS = {"azora.auth.v1.TokenService.Introspect", "azora.auth.v1.TokenService.IntrospectToken"}
"""Reads of a secret, which must not stand in a URL."""


def test_reads_are_get_and_free_of_side_effects() -> None:
    for method in methods():
        http = method.GetOptions().Extensions[annotations_pb2.http]
        if method.containing_service.name == "InternalService":
            continue  # It has no route at all.
        verb = "post" if method.full_name in POSTED_READS else "get"
        reads = method.GetOptions().idempotency_level == 1
        if method.full_name in POSTED_READS:
            assert reads, method.full_name
        assert (http.WhichOneof("pattern") == verb) is reads, method.full_name


def test_nobody_but_named_services_and_administrators_issues_tokens(policies: dict[str, MethodPolicy]) -> None:
    earn = policies["/azora.payment.v1.PaymentService/Earn"]
    assert not earn.public
    assert not earn.signed_in
    assert earn.services == {"education"}
    assert earn.permissions == {"PERMISSION_EARN_GRANT"}


def test_every_text_field_of_a_request_has_a_limit() -> None:
    unlimited = [
        f"{message.full_name}.{field.name}"
        for method in methods()
        for message in [method.input_type]
        for field in message.fields
        if field.type == field.TYPE_STRING and not field.GetOptions().ByteSize()
    ]
    assert unlimited == []


def test_methods_without_a_contract_are_known() -> None:
    assert {path.split("/")[1] for path in infrastructure_policies()} == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "azora.telemetry.v1.MetricsService",
    }


def _reasons(module: Any) -> set[str]:
    return {name.removeprefix("ERROR_REASON_") for name in module.ErrorReason.keys()}  # noqa: SIM118 - an enum


@pytest.mark.parametrize("service", SERVICES)
def test_every_error_of_a_service_is_in_its_contract_and_no_reason_is_dead(service: str) -> None:
    module = importlib.import_module(f"services.{service}.errors")
    named = _reasons(importlib.import_module(f"azora.{service}.v1.error_reason_pb2")) - {"UNSPECIFIED"}
    defined = {
        thing.reason
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, errors.DomainError) and thing.__module__ == module.__name__
    }
    assert defined == named


def test_every_shared_error_is_in_the_contract() -> None:
    concrete = {
        thing.reason
        for thing in vars(errors).values()
        if isinstance(thing, type)
        and issubclass(thing, errors.DomainError)
        and thing is not errors.DomainError
        and thing not in errors.DomainError.__subclasses__()
    }
    assert concrete <= _reasons(error_reason_pb2)


def _promised_metadata(service: str) -> dict[str, set[str]]:
    """Return, by reason, the metadata keys that the comments of error_reason.proto name: "Metadata: rule."."""
    text = (Path(__file__).parents[2] / f"protos/azora/{service}/v1/error_reason.proto").read_text()
    reasons = re.findall(r"((?:^ *//.*\n)+) *ERROR_REASON_(\w+) =", text, re.MULTILINE)
    told = {
        reason: re.search(r"Metadata: ([\w, ]+)\.", " ".join(comment.replace("//", "").split()))
        for comment, reason in reasons
    }
    return {reason: set(found.group(1).split(", ")) if found else set() for reason, found in told.items()}


def _constructed(kind: type[errors.DomainError]) -> errors.DomainError:
    names = [name for name in inspect.signature(kind).parameters if name not in ("metadata", "violations")]
    arguments: dict[str, Any] = {name: 1 if name == "retry_after_seconds" else name for name in names}
    return kind(**arguments)


@pytest.mark.parametrize("service", [*SERVICES, "policy"])
def test_the_metadata_of_an_error_is_what_its_contract_names(service: str) -> None:
    module = errors if service == "policy" else importlib.import_module(f"services.{service}.errors")
    promised = _promised_metadata(service)
    for kind in _descendants(errors.DomainError):
        if kind.__module__ == module.__name__ and getattr(kind, "reason", None) in promised:
            assert set(_constructed(kind).metadata) == promised[kind.reason], kind


@pytest.mark.parametrize("folder", ["services/shared", "interceptors", *(f"services/{name}" for name in SERVICES)])
def test_metadata_is_named_in_the_constructor_of_an_error_alone(folder: str) -> None:
    kinds = {kind.__name__ for kind in _descendants(errors.DomainError)}
    for path in (Path(__file__).parents[2] / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in kinds:
                assert not any(keyword.arg == "metadata" for keyword in node.keywords), f"{path}:{node.lineno}"


def _descendants(kind: type[errors.DomainError]) -> set[type[errors.DomainError]]:
    return {kind}.union(*map(_descendants, kind.__subclasses__()))


def test_permissions_are_each_held_by_someone() -> None:
    for value in permission_pb2.Permission.DESCRIPTOR.values:
        if value.number:
            assert value.GetOptions().Extensions[permission_pb2.grant].roles, value.name


@pytest.mark.parametrize("service", SERVICES)
def test_every_contract_is_served(service: str) -> None:
    """Each generated servicer has one subclass, with a method of its own for every RPC."""
    package = importlib.import_module(f"services.{service}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name.rpartition(".")[2].endswith("servicer"):
            importlib.import_module(module.name)
    for descriptor in contract_services():
        if descriptor.full_name.split(".")[1] == service:
            path = descriptor.file.name.removesuffix(".proto").replace("/", ".") + "_pb2_grpc"
            generated = getattr(importlib.import_module(path), f"{descriptor.name}Servicer")
            (servicer,) = (kind for kind in generated.__subclasses__() if kind.__module__.startswith("services."))
            assert {method.name for method in descriptor.methods} <= set(vars(servicer))


def test_the_services_are_the_ones_of_the_contracts() -> None:
    folders = {Path(path) / module.name for path in services.__path__ for module in pkgutil.iter_modules([path])}
    with_database = {folder.name for folder in folders if (folder / "migrations").is_dir()}
    assert {service.full_name.split(".")[1] for service in contract_services()} == with_database | {"gateway"}


def test_field_names_are_unique_in_json() -> None:
    def walk(message: DescriptorProto) -> None:
        names = [field.json_name.casefold() for field in message.field]
        assert len(names) == len(set(names)), message.name

    for file in _pool()[1].file:
        if file.name.startswith("azora/"):
            for message in file.message_type:
                walk(message)
