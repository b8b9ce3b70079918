"""Errors: their names, their messages, and their life in an idempotency record."""

from __future__ import annotations

import json

import grpc
import pytest

from interceptors.errors import CODES, code_of, to_status
from services.shared import errors


class QuizTooHardForHTTP2(errors.FailedPrecondition):
    """This quiz is too hard, even for you.

    What follows is for readers of the code.
    """


def test_a_class_is_its_own_reason_and_message() -> None:
    error = QuizTooHardForHTTP2()
    assert error.reason == "QUIZ_TOO_HARD_FOR_HTTP2"
    assert str(error) == error.message == "This quiz is too hard, even for you."


def test_a_recorded_error_answers_byte_for_byte_as_the_first_did() -> None:
    first = QuizTooHardForHTTP2(
        metadata={"b": "2", "a": "1"}, violations=[errors.FieldViolation("quiz.id", "too hard", "hard")]
    )
    again = errors.revive(json.loads(json.dumps(first.record())))
    assert code_of(again) is grpc.StatusCode.FAILED_PRECONDITION
    assert to_status(again).SerializeToString(deterministic=True) == to_status(first).SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("kind", errors.DomainError.__subclasses__())
def test_every_kind_has_a_code(kind: type[errors.DomainError]) -> None:
    assert kind in CODES


def test_only_verdicts_are_kept_under_an_idempotency_key() -> None:
    kept = {kind.__name__ for kind in errors.DomainError.__subclasses__() if kind.stored}
    assert kept == {"NotFound", "AlreadyExists", "FailedPrecondition"}
