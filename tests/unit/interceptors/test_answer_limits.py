"""A refusal stays small, whatever was sent: its trailers must not fail the connection for others."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from azora.client import bearer
from azora.education.v1 import course_service_pb2, course_service_pb2_grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from interceptors.errors import to_status
from services.shared.errors import (
    DomainError,
    FailedPrecondition,
    FieldViolation,
    Overloaded,
    PreconditionViolation,
    ValidationFailed,
    revive,
)
from services.shared.server import Registration
from tests.support.serving import Signer, channel_to, serving

LONG = "ä€😀" * 3000


def info_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


def listed(status: status_pb2.Status) -> Any:
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    return bad.field_violations


@pytest.mark.parametrize(
    "error",
    [
        ValidationFailed(violations=[FieldViolation(LONG, LONG, LONG)] * 1010),
        ValidationFailed(
            violations=[
                FieldViolation(f"modules[{n}].lessons[3].title", "value is required", "required") for n in range(1010)
            ]
        ),
        Overloaded(metadata={LONG + str(n): LONG for n in range(100)}, retry_after_seconds=5),
        ValidationFailed(
            metadata={str(n): LONG for n in range(100)},
            violations=[FieldViolation(LONG, LONG, LONG)] * 3,
            retry_after_seconds=1e9,
        ),
        type("LongWinded", (ValidationFailed,), {"__doc__": LONG})(violations=[FieldViolation("a", LONG)] * 25),
    ],
)
def test_a_status_stays_under_four_kilobytes_whatever_it_holds(error: DomainError) -> None:
    status = to_status(error)
    assert status.ByteSize() < 4096
    assert info_of(status).reason == error.reason
    if error.violations:
        assert 1 <= len(listed(status)) <= 25
        assert info_of(status).metadata["violationCount"] == str(len(error.violations)) or len(listed(status)) == len(
            error.violations
        )


def test_twenty_five_violations_are_listed_whole_and_more_are_counted() -> None:
    violations = [FieldViolation(f"f{number}", "is wrong", "rule") for number in range(26)]
    whole, cut = (
        to_status(ValidationFailed(violations=violations[:25])),
        to_status(ValidationFailed(violations=violations)),
    )
    assert (len(listed(whole)), dict(info_of(whole).metadata)) == (25, {})
    assert (len(listed(cut)), dict(info_of(cut).metadata)) == (25, {"violationCount": "26"})


def preconditions(status: status_pb2.Status) -> Any:
    failure = error_details_pb2.PreconditionFailure()
    assert status.details[1].Unpack(failure)
    return failure.violations


@pytest.mark.parametrize("text", ["short", LONG])
def test_preconditions_are_listed_bounded_and_counted(text: str) -> None:
    unmet = [PreconditionViolation("KIND", str(number), text) for number in range(26)]
    status = to_status(FailedPrecondition(preconditions=unmet))
    assert status.ByteSize() < 4096
    assert 1 <= len(preconditions(status)) <= 25
    assert dict(info_of(status).metadata) == {"violationCount": "26"}
    assert [violation.subject for violation in preconditions(status)][:2] == ["0", "1"]


def test_a_refusal_is_replayed_with_its_preconditions_and_one_of_an_earlier_version_without() -> None:
    error = FailedPrecondition(preconditions=[PreconditionViolation("KIND", "subject", "text")])
    assert to_status(revive(error.record())) == to_status(error)
    earlier = {name: value for name, value in error.record().items() if name != "preconditions"}
    assert not revive(earlier).preconditions


async def test_a_request_that_breaks_a_thousand_rules_is_refused_and_the_connection_lives_on() -> None:
    class Courses(course_service_pb2_grpc.CourseServiceServicer):
        async def CreateCourse(self, request: Any, context: Any) -> course_service_pb2.CreateCourseResponse:
            raise AssertionError("this was not valid")

    signer = Signer()
    service = Registration(
        course_service_pb2.DESCRIPTOR.services_by_name["CourseService"],
        Courses(),
        course_service_pb2_grpc.add_CourseServiceServicer_to_server,
    )
    request = course_service_pb2.CreateCourseRequest(title="t")
    for _ in range(10):
        module = request.modules.add()
        for _ in range(100):
            module.lessons.add()
    async with serving([service], signer) as target, channel_to(target) as channel:
        create = course_service_pb2_grpc.CourseServiceStub(channel).CreateCourse
        for _ in range(2):
            with pytest.raises(aio.AioRpcError) as caught:
                await create(request, metadata=bearer(signer.token(role="ROLE_EDUCATOR")))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            details = dict(caught.value.trailing_metadata())["grpc-status-details-bin"]
            status = status_pb2.Status.FromString(details)
            assert int(info_of(status).metadata["violationCount"]) > 1000
