"""What needs Go's tools (`make test-tools` builds them): grpcurl and ghz as developers use them, kustomize."""

from __future__ import annotations

import json
import os
import re
import subprocess
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from services.shared.descriptors import DESCRIPTORS
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


def sign_in(system: LocalSystem) -> str:
    """Return the seeded student's access token."""
    login = grpcurl(system, "-d", json.dumps(STUDENT), system.target, "azora.auth.v1.AuthService/Login")
    token: str = json.loads(login.stdout)["accessToken"]
    return token


def wallet(system: LocalSystem) -> dict[str, str]:
    """Return the seeded student's balance."""
    header = ("-H", f"authorization: Bearer {sign_in(system)}")
    read = grpcurl(system, *header, system.target, "azora.payment.v1.WalletService/GetWallet")
    balance: dict[str, str] = json.loads(read.stdout)["wallet"]["balances"][0]
    return balance


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


def test_ghz_loads_writes_of_money_each_with_a_key_of_its_own(system: LocalSystem) -> None:
    token, before = sign_in(system), wallet(system)
    loaded = run(
        *(TOOLS / "ghz", "--insecure", "--call", "azora.payment.v1.PaymentService.CreateHold", "--format", "json"),
        *("--total", "40", "--concurrency", "4", "--metadata", json.dumps({"authorization": f"Bearer {token}"})),
        *("--data", json.dumps({"amount": {"minorUnits": "1", "currency": "AZR"}, "requestId": "{{.UUID}}"})),
        system.target,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["statusCodeDistribution"] == {"OK": 40}
    assert int(wallet(system).get("held", 0)) == int(before.get("held", 0)) + 40


def test_grpcurl_streams_a_watch(system: LocalSystem) -> None:
    header = ("-H", f"authorization: Bearer {sign_in(system)}")
    call = (*header, "-d", '{"afterSequence": "0"}', system.target, "azora.payment.v1.WalletService/WatchTransactions")
    with subprocess.Popen([TOOLS / "grpcurl", "-plaintext", *call], stdout=subprocess.PIPE, text=True) as watch:  # noqa: S603
        try:
            assert watch.stdout
            heard = list(takewhile(lambda line: "heartbeat" not in line, watch.stdout))
        finally:
            watch.kill()
    assert "TRANSACTION_TYPE_EARN" in "".join(heard), "the history comes before the first heartbeat"


def test_grpcurl_calls_without_reflection_by_the_descriptors_of_the_stubs(system: LocalSystem) -> None:
    contracts = ("-protoset", str(DESCRIPTORS), "-use-reflection=false")
    courses = grpcurl(system, *contracts, system.target, "azora.education.v1.CourseService/ListCourses")
    assert len(json.loads(courses.stdout)["courses"]) >= 2


def test_grpcurl_shows_the_details_of_a_refusal(system: LocalSystem) -> None:
    refused = grpcurl(system, "-d", '{"page_size": -1}', system.target, "azora.education.v1.CourseService/ListCourses")
    assert "InvalidArgument" in refused.stderr
    assert "VALIDATION_FAILED" in refused.stderr
    assert "pageSize" in refused.stderr


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
