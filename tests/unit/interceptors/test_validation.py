"""What was found valid is not checked again, and only where that cannot be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from azora.auth.v1 import token_service_pb2
from azora.education.v1 import course_service_pb2
from buf.validate import validate_pb2

from interceptors import validation
from interceptors.base import Call
from interceptors.validation import Validation
from services.compiler.contract import load_contract
from services.shared.errors import ValidationFailed
from services.shared.opaque_tokens import new_token
from services.shared.validation import validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

GET = "/azora.education.v1.CourseService/GetCourse"
INTROSPECT = "/azora.auth.v1.TokenService/IntrospectToken"
DELETE = "/azora.education.v1.CourseService/DeleteCourse"
ID = "01A21E28-15D5-7FB2-B41A-6F31542BCCEB"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what has been checked."""
    seen: list[Any] = []

    def note(message: Any) -> None:
        seen.append(message)
        validate(message)

    monkeypatch.setattr("interceptors.validation.validate", note)
    return seen


async def _serve(interceptor: Validation, path: str, request: Message) -> Any:
    async def proceed() -> None:
        pass

    policy, raw = load_contract().policies[path], request.SerializeToString()
    call = Call(policy, cast("Any", None), (), raw, type(request).FromString, iter(()))
    await interceptor.around(call, proceed)
    return call.request


async def test_a_short_read_is_checked_once_and_its_ids_are_in_lower_case_each_time(checked: list[Any]) -> None:
    interceptor = Validation()
    for _ in range(3):
        served = await _serve(interceptor, GET, course_service_pb2.GetCourseRequest(course_id=ID))
        assert served.course_id == ID.lower()
    assert len(checked) == 1


async def test_what_is_wrong_is_refused_each_time() -> None:
    interceptor = Validation()
    for _ in range(2):
        with pytest.raises(ValidationFailed):
            await _serve(interceptor, GET, course_service_pb2.GetCourseRequest(course_id="7"))


async def test_writes_and_long_requests_are_checked_each_time(checked: list[Any]) -> None:
    interceptor = Validation()
    for _ in range(2):
        await _serve(interceptor, DELETE, course_service_pb2.DeleteCourseRequest(course_id=ID, etag='"1"'))
        await _serve(interceptor, "/azora.education.v1.CourseService/SearchCourses", _long_search())
    assert len(checked) == 4


async def test_no_token_is_remembered() -> None:
    interceptor, request = Validation(), token_service_pb2.IntrospectTokenRequest(token=new_token())
    await _serve(interceptor, INTROSPECT, request)
    assert not interceptor._valid


async def test_what_is_remembered_is_bounded(checked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "MAX_REMEMBERED", 2)
    interceptor = Validation()
    for revision in range(1, 7):
        await _serve(interceptor, GET, course_service_pb2.GetCourseRequest(course_id=ID, revision=revision))
    assert len(interceptor._valid) <= 2
    assert len(checked) == 6


def test_no_rule_of_the_contract_depends_on_the_time() -> None:
    """What is valid now must be valid later."""
    inputs = [method.input_type for service in load_contract().services for method in service.methods]
    for rules in _rules(inputs):
        assert "now" not in str(rules).replace("_", " ").split(), rules
        assert "within" not in str(rules), rules


def _rules(messages: list[Descriptor]) -> Iterator[Any]:
    seen: set[str] = set()
    while messages:
        message = messages.pop()
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        yield message.GetOptions().Extensions[validate_pb2.message]
        for field in message.fields:
            yield field.GetOptions().Extensions[validate_pb2.field]
            if field.message_type is not None:
                messages.append(field.message_type)


def _long_search() -> Message:
    return course_service_pb2.SearchCoursesRequest(query="x" * validation.MAX_REMEMBERED_BYTES)
