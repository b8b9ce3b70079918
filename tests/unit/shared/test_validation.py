"""The rules of the contract, and the one spelling of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import (
    assessment_pb2,
    assessment_service_pb2,
    course_pb2,
    course_service_pb2,
    internal_service_pb2,
)
from azora.event.v1 import event_pb2
from azora.payment.v1 import events_pb2, payment_service_pb2, wallet_service_pb2
from buf.validate import validate_pb2
from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

from services.compiler.contract import load_contract
from services.shared.errors import ValidationFailed
from services.shared.ids import new_id
from services.shared.limits import MAX_ELEMENTS, MAX_EXPLAINED_ELEMENTS, MAX_MESSAGE_BYTES
from services.shared.validation import VALIDATOR, _fields_with_ids, _fields_with_lists, count_elements, validate

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message


def test_ids_are_written_in_lower_case_and_nothing_else_is() -> None:
    payment_id = new_id()
    request = payment_service_pb2.CreateRefundRequest(
        payment_id=payment_id.upper(), reason="NOT TODAY", request_id=payment_id.upper()
    )
    validate(request)
    assert request == payment_service_pb2.CreateRefundRequest(
        payment_id=payment_id, reason="NOT TODAY", request_id=payment_id.upper()
    )


def test_an_id_that_is_not_set_stays_so() -> None:
    request = course_service_pb2.CreateCourseRequest(title="Baking")
    before = request.SerializeToString()
    validate(request)
    assert request.SerializeToString() == before


def test_ids_of_repeated_messages_are_written_in_lower_case() -> None:
    ids = [new_id(), new_id()]
    what = AnyMessage()
    what.Pack(events_pb2.PaymentRefunded(payment_id=ids[0].upper()))
    events = [event_pb2.Event(id=id_.upper(), occur_time=Timestamp(seconds=1), what=what) for id_ in ids]
    request = internal_service_pb2.ReceiveEventsRequest(events=events)
    validate(request)
    assert [event.id for event in request.events] == ids
    assert request.events[0].what == what, "an event's own message is validated by who knows its type"


def test_ids_of_repeated_optional_and_recursive_fields_are_written_in_lower_case() -> None:
    kind = GetMessageClass(_pool().FindMessageTypeByName("tree.Tree"))
    id_ = new_id()
    tree = kind(ids=[id_.upper(), id_], left={"root": id_.upper(), "left": {"ids": [id_.upper()]}})
    validate(tree)
    assert tree == kind(ids=[id_, id_], left={"root": id_, "left": {"ids": [id_]}})
    assert not tree.HasField("root")


def test_a_broken_id_is_refused() -> None:
    with pytest.raises(ValidationFailed) as refused:
        validate(payment_service_pb2.GetPaymentRequest(payment_id="PAYMENT"))
    assert [violation.field for violation in refused.value.violations] == ["paymentId"]


def test_a_message_without_ids_and_lists_is_not_walked() -> None:
    request = wallet_service_pb2.WatchTransactionsRequest(currency="AZR")
    validate(request)
    assert not _fields_with_ids(request.DESCRIPTOR)
    assert not _fields_with_lists(request.DESCRIPTOR)


ANSWER = assessment_pb2.AttemptAnswer
LESSONS = [course_service_pb2.NewLesson()] * 500
QUESTION = course_pb2.QuizQuestion(kind=course_pb2.QUESTION_KIND_SHORT_TEXT, prompt="?", accepted_answers=["a"])
QUIZ = course_pb2.Quiz(questions=[QUESTION] * 100, pass_basis_points=1)
EXAM = course_service_pb2.NewLesson(title="Exam", kind=course_pb2.LESSON_KIND_QUIZ, quiz=QUIZ)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (assessment_service_pb2.SaveAnswersRequest(answers=[ANSWER()] * 101), "answers"),
        (
            assessment_service_pb2.SaveAnswersRequest(answers=[ANSWER(), ANSWER(selected_options=range(21))]),
            "answers[1].selectedOptions",
        ),
        (
            course_service_pb2.ImportCourseRequest(
                document=course_service_pb2.CourseDocument(
                    modules=[course_service_pb2.NewModule(lessons=LESSONS)] * 100
                )
            ),
            "document.modules",
        ),
        (
            course_service_pb2.CreateCourseRequest(
                title="T", modules=[course_service_pb2.NewModule(title="M", lessons=[EXAM] * 70)]
            ),
            "modules[0].lessons",
        ),
        (
            course_service_pb2.UpdateCourseRequest(update_mask=FieldMask(paths=["title"] * (MAX_ELEMENTS + 1))),
            "updateMask.paths",
        ),
    ],
)
def test_too_many_elements_are_refused_before_any_is_looked_at(
    request_: Message, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them costs: half a million in 1 MiB kept a process busy for three minutes."""
    monkeypatch.setattr("services.shared.validation.VALIDATOR", None)
    assert request_.ByteSize() <= MAX_MESSAGE_BYTES
    with pytest.raises(ValidationFailed) as refused:
        validate(request_)
    assert [(found.field, found.reason) for found in refused.value.violations] == [(field, "repeated.max_items")]


def test_of_many_violations_of_a_large_message_the_first_is_told() -> None:
    modules = [course_service_pb2.NewModule(title="M", lessons=LESSONS)] * 3
    request = course_service_pb2.CreateCourseRequest(title="T", modules=modules)
    assert count_elements(request) == 1503 > MAX_EXPLAINED_ELEMENTS
    with pytest.raises(ValidationFailed) as refused:
        validate(request)
    assert [violation.field for violation in refused.value.violations] == ["modules[0].lessons[0].title"]


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 315_576_000_001])
def test_a_duration_that_is_none_is_invalid(seconds: int) -> None:
    with pytest.raises(ValidationFailed):
        validate(course_service_pb2.CreateCourseRequest(title="T", duration=Duration(seconds=seconds)))


RIGHT, WRONG = course_pb2.QuizOption(correct=True), course_pb2.QuizOption()
SINGLE, MULTIPLE = course_pb2.QUESTION_KIND_SINGLE_CHOICE, course_pb2.QUESTION_KIND_MULTIPLE_CHOICE
TEXT = course_pb2.QUESTION_KIND_SHORT_TEXT


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (QUESTION, ""),
        (course_pb2.QuizQuestion(kind=TEXT), "a short text must have an accepted answer and no options"),
        (course_pb2.QuizQuestion(), "a choice must have 2 options or more and no accepted answers"),
        (course_pb2.QuizQuestion(options=[WRONG, WRONG]), "a single choice must have exactly one correct option"),
        (
            course_pb2.QuizQuestion(kind=SINGLE, options=[RIGHT, RIGHT]),
            "a single choice must have exactly one correct option",
        ),
        (course_pb2.QuizQuestion(options=[RIGHT, WRONG]), ""),
        (
            course_pb2.QuizQuestion(kind=MULTIPLE, options=[WRONG, WRONG]),
            "a multiple choice must have a correct option",
        ),
        (course_pb2.QuizQuestion(kind=MULTIPLE, options=[RIGHT, RIGHT]), ""),
        (
            course_pb2.QuizQuestion(kind=MULTIPLE, options=[RIGHT, RIGHT], accepted_answers=["a"]),
            "a choice must have 2 options or more and no accepted answers",
        ),
    ],
)
def test_a_question_fits_its_kind(question: course_pb2.QuizQuestion, message: str) -> None:
    found = [violation.proto for violation in VALIDATOR.collect_violations(question)]
    assert [one.message for one in found if one.rule_id == "question.kind"] == ([message] if message else [])


def test_no_request_has_ids_in_a_map() -> None:
    """A map's rules stand elsewhere than those of other fields: whoever needs ids in one has to teach `validate`."""
    contract = load_contract()
    declared = [method for path, method in contract.methods.items() if path.startswith("/azora.")]
    messages = _reachable([method.input_type for method in declared])
    assert len(messages) > 50
    assert not [
        message.full_name
        for message in messages
        if message.GetOptions().map_entry and message.full_name.startswith("azora.")
    ]


def _reachable(messages: list[Descriptor]) -> set[Descriptor]:
    found: set[Descriptor] = set()
    while messages:
        message = messages.pop()
        if message not in found:
            found.add(message)
            messages += [field.message_type for field in message.fields if field.message_type]
    return found


def _pool() -> DescriptorPool:
    """Return a pool with message Tree {optional uuid root; repeated uuid ids; Tree left;}."""
    file = FileDescriptorProto(name="tree.proto", package="tree", syntax="proto3")
    file.dependency.append("buf/validate/validate.proto")
    tree = file.message_type.add(name="Tree")
    tree.oneof_decl.add(name="_root")
    root = tree.field.add(name="root", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    root.proto3_optional, root.oneof_index = True, 0
    root.options.Extensions[validate_pb2.field].string.uuid = True
    ids = tree.field.add(name="ids", number=2, type="TYPE_STRING", label="LABEL_REPEATED")
    ids.options.Extensions[validate_pb2.field].repeated.items.string.uuid = True
    tree.field.add(name="left", number=3, type="TYPE_MESSAGE", type_name=".tree.Tree", label="LABEL_OPTIONAL")
    pool = descriptor_pool.Default()
    pool.Add(file)
    return pool
