"""What needs Go's tools (`make test-tools` builds them): grpcurl and ghz as developers use them, grpc-gateway."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.kubernetes import VERSIONS, documents, resources, validate
from tests.support.services import SERVED

if TYPE_CHECKING:
    from tests.support.system import LocalSystem

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
IMAGE = {"name": "azora", "newName": "example/azora", "newTag": "1.2.3"}
STUDENT = {"email": "student@azora.world", "password": "Student@2024!"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=60)  # noqa: S603 - our tools


def grpcurl(system: LocalSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(TOOLS / "grpcurl", "-plaintext", *arguments)


def test_grpcurl_lists_describes_and_calls_by_reflection(system: LocalSystem) -> None:
    listed = grpcurl(system, system.target, "list")
    assert {"azora.auth.v1.AuthService", "azora.payment.v1.PaymentService"} <= set(listed.stdout.split())
    described = grpcurl(system, system.target, "describe", "azora.payment.v1.EarnRequest")
    assert "string reference = 3" in described.stdout
    courses = json.loads(grpcurl(system, system.target, "azora.education.v1.CourseService/ListCourses").stdout)
    assert len(courses["courses"]) >= 2


def test_grpcurl_describes_a_method(system: LocalSystem) -> None:
    described = grpcurl(system, system.target, "describe", "azora.education.v1.CourseService.ListCourses")
    assert "rpc ListCourses ( .azora.education.v1.ListCoursesRequest )" in described.stdout, described.stderr


def test_ghz_finds_a_method_by_reflection_and_loads_it(system: LocalSystem) -> None:
    call = ("--call", "azora.education.v1.CourseService.ListCourses", "--total", "200", "--concurrency", "8")
    loaded = run(TOOLS / "ghz", "--insecure", *call, "--format", "json", system.target)
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["statusCodeDistribution"] == {"OK": 200}


def test_grpcurl_signs_in_and_reads_the_wallet(system: LocalSystem) -> None:
    login = grpcurl(system, "-d", json.dumps(STUDENT), system.target, "azora.auth.v1.AuthService/Login")
    token = json.loads(login.stdout)["accessToken"]
    header = ("-H", f"authorization: Bearer {token}")
    wallet = grpcurl(system, *header, system.target, "azora.payment.v1.WalletService/GetWallet")
    assert json.loads(wallet.stdout)["wallet"]["balances"][0]["currency"] == "AZR"


def test_grpcurl_shows_the_details_of_a_refusal(system: LocalSystem) -> None:
    refused = grpcurl(system, "-d", '{"page_size": -1}', system.target, "azora.education.v1.CourseService/ListCourses")
    assert "InvalidArgument" in refused.stderr
    assert "VALIDATION_FAILED" in refused.stderr
    assert "pageSize" in refused.stderr


def test_grpc_gateway_takes_the_contracts_as_they_are(tmp_path: Path) -> None:
    """Routes and verbs stay within what grpc-gateway compiles, so that another gateway can serve them."""
    contracts = ROOT / "generated/azora/descriptors.binpb"
    services = [str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*_service.proto")]
    compiled = run(
        sys.executable,
        *("-m", "grpc_tools.protoc", f"--descriptor_set_in={contracts}", f"-I{files('grpc_tools') / '_proto'}"),
        f"--plugin=protoc-gen-grpc-gateway={TOOLS / 'protoc-gen-grpc-gateway'}",
        f"--grpc-gateway_out={tmp_path}",
        "--grpc-gateway_opt=standalone=true",
        "--grpc-gateway_opt=allow_delete_body=true",  # A password must not stand in a URL.
        *(f"--grpc-gateway_opt=M{name}=azora.dev/{Path(name).parent};v1" for name in _files()),
        *services,
    )
    assert compiled.returncode == 0, compiled.stderr
    written = "".join(path.read_text() for path in tmp_path.rglob("*.gw.go"))
    for route in ('"enroll"', '"complete"', '"capture"'):
        assert route in written


def _files() -> list[str]:
    return [str(path.relative_to(ROOT / "protos")) for path in (ROOT / "protos").rglob("*.proto")]


def test_kustomize_builds_the_base(tmp_path: Path) -> None:
    built = run(TOOLS / "kustomize", "build", ROOT / "deploy/kubernetes")
    assert built.returncode == 0, built.stderr
    found = list(documents(built.stdout))
    for resource in found:
        validate(resource, VERSIONS[-1])
    (settings,) = [resource for resource in found if resource["kind"] == "ConfigMap"]
    assert len(found) == len(resources()) + 1
    used = re.findall(r"configMapRef:\n +name: (.*)", built.stdout)
    assert set(used) == {settings["metadata"]["name"]}, "changed settings roll the pods"
    overlay = {"resources": [os.path.relpath(ROOT / "deploy/kubernetes", tmp_path)], "images": [IMAGE]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(overlay))
    images = re.findall(r"image: (.*)", run(TOOLS / "kustomize", "build", tmp_path).stdout)
    assert images.count("example/azora:1.2.3") == len([image for image in images if "azora" in image]) > len(SERVED)
