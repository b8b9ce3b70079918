"""Attempts at quizzes: drawing, answering, grading, and what passing completes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azora.education.v1 import assessment_pb2 as pb
from azora.education.v1 import course_pb2, enrollment_pb2

from services.education.quizzes.store import QuizStore
from services.shared.ids import new_id
from tests.integration.education.test_learning import outcomes
from tests.support import authoring
from tests.support.attempts import CRUST, LEAVEN, POOL, RIGHT, RYE, WRONG, Examinee, answers_to, examinee, quiz_module
from tests.support.education import MODULES, RunningEducation, azr
from tests.support.exporting import exported_by
from tests.support.refusals import refusal
from tests.support.waiting import eventually

pytestmark = pytest.mark.shared


async def _examinee(education: RunningEducation, **rules: Any) -> Examinee:
    course = await education.admin().published(modules=[quiz_module(**rules)], completion_reward=azr(1))
    return await examinee(course, education.person())


async def test_a_passed_attempt_completes_the_lesson_and_the_course(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    assert (attempt.state, attempt.number, attempt.pass_basis_points) == (pb.ATTEMPT_STATE_OPEN, 1, 5000)
    assert not attempt.HasField("result")
    assert not attempt.HasField("deadline")
    graded = await at.submit(attempt.id, answers_to(attempt, RIGHT))
    assert graded.state == pb.ATTEMPT_STATE_SUBMITTED
    assert graded.HasField("submit_time")
    assert graded.result == pb.AttemptResult(points=4, max_points=4, basis_points=10000, passed=True)
    (enrollment,) = (await at.person.enrolled()).enrollments
    assert (enrollment.state, enrollment.progress.basis_points) == (enrollment_pb2.ENROLLMENT_STATE_COMPLETED, 10000)
    assert await at.person.complete(enrollment.id, at.lesson_id) == enrollment
    await eventually(lambda: _true(education.payments.earned))


async def test_a_quiz_is_not_completed_without_passing_it(education: RunningEducation) -> None:
    at = await _examinee(education)
    (enrollment,) = (await at.person.enrolled()).enrollments
    refused = await refusal(at.person.complete(enrollment.id, at.lesson_id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "QUIZ_NOT_PASSED")
    failed = await at.fail()
    assert (failed.result.points, failed.result.passed) == (0, False)
    assert (await refusal(at.person.complete(enrollment.id, at.lesson_id))).reason == "QUIZ_NOT_PASSED"
    assert await at.person.enrollment(enrollment.id) == enrollment


async def test_questions_are_drawn_from_the_pool_and_stay_as_they_are(education: RunningEducation) -> None:
    pool = [course_pb2.QuizQuestion(prompt=str(number), options=RYE.options) for number in range(30)]
    at = await _examinee(education, questions=pool, draw_count=5)
    drawn = []
    for _ in range(3):
        attempt = await at.start()
        drawn.append([question.prompt for question in attempt.questions])
        assert len(set(drawn[-1])) == 5
        assert (await at.attempt(attempt.id)).questions == attempt.questions
        await at.submit(attempt.id)
    assert drawn[0] != drawn[1] or drawn[1] != drawn[2], "30 questions were drawn alike three times"


async def test_answers_are_saved_as_they_are_given(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    right, wrong = answers_to(attempt, RIGHT), answers_to(attempt, WRONG)
    saved = await at.save(attempt.id, wrong)
    assert (saved.answered_questions, saved.attempt.state) == (3, pb.ATTEMPT_STATE_OPEN)
    assert not saved.attempt.HasField("result")
    await at.save(attempt.id, right[:1])
    await at.save(attempt.id, [pb.AttemptAnswer(question_index=2)])
    read = await at.attempt(attempt.id)
    assert [question.HasField("answer") for question in read.questions] == [True, True, False]
    assert not any(question.HasField("solution") for question in read.questions)
    graded = await at.submit(attempt.id)
    assert graded.result.points == read.questions[0].points


async def test_submitting_is_idempotent_and_other_answers_come_too_late(education: RunningEducation) -> None:
    at = await _examinee(education, max_attempts=2)
    attempt = await at.start()
    wrong = answers_to(attempt, WRONG)
    graded = await at.submit(attempt.id, wrong, key="submit")
    assert await at.submit(attempt.id, wrong, key="submit") == graded
    assert await at.submit(attempt.id, wrong) == graded
    assert await at.submit(attempt.id) == graded
    late = await refusal(at.submit(attempt.id, answers_to(attempt, RIGHT)))
    assert (late.code, late.reason) == ("FAILED_PRECONDITION", "ATTEMPT_SUBMITTED")
    assert (await refusal(at.save(attempt.id, wrong))).reason == "ATTEMPT_SUBMITTED"
    assert (await at.attempt(attempt.id)).result == graded.result
    assert (await refusal(at.submit(attempt.id, answers_to(attempt, RIGHT), key="submit"))).reason == (
        "IDEMPOTENCY_KEY_REUSED"
    )


async def test_a_learner_has_one_open_attempt_at_a_quiz(education: RunningEducation) -> None:
    at = await _examinee(education)
    ended = await outcomes([at.start() for _ in range(8)])
    assert ended == {"OK": 1, "ATTEMPT_ALREADY_OPEN": 7}
    (attempt,) = (await at.attempts()).attempts
    refused = await refusal(at.start())
    assert (refused.code, refused.metadata) == ("ALREADY_EXISTS", {"attemptId": attempt.id})
    assert (await at.quiz()).open_attempt_id == attempt.id
    await at.submit(attempt.id)
    first = await at.start(key="second attempt")
    assert first.number == 2
    assert await at.start(key="second attempt") == first


@pytest.mark.own
async def test_twins_submit_once(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    right = answers_to(attempt, RIGHT)
    graded = await asyncio.gather(*(at.submit(attempt.id, right) for _ in range(6)))
    assert len({answer.submit_time.ToNanoseconds() for answer in graded}) == 1
    await eventually(lambda: _true(education.payments.earned))
    assert education.payments.calls == {"earn": 1}


async def test_attempts_are_limited_also_over_another_enrolment(education: RunningEducation) -> None:
    at = await _examinee(education, max_attempts=2)
    await at.fail()
    (enrollment,) = (await at.person.enrolled()).enrollments
    await at.person.cancel(enrollment.id)
    assert (await refusal(at.start())).reason == "ENROLLMENT_NOT_ACTIVE"
    await at.person.enroll(at.course_id)
    await at.fail()
    refused = await refusal(at.start())
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "ATTEMPTS_EXHAUSTED")
    assert refused.metadata == {"maxAttempts": "2"}
    assert (await at.quiz()).started_attempts == 2


async def test_right_answers_are_told_after_the_last_attempt(education: RunningEducation) -> None:
    at = await _examinee(education, max_attempts=2)
    first = await at.fail()
    assert not any(question.HasField("solution") for question in first.questions)
    second = await at.start()
    assert not any(question.HasField("solution") for question in (await at.attempt(first.id)).questions)
    last = await at.submit(second.id, answers_to(second, WRONG))
    for attempt in (last, await at.attempt(first.id)):
        solutions = {question.prompt: question.solution for question in attempt.questions}
        assert not any(solution.correct for solution in solutions.values())
        assert solutions[RYE.prompt].correct_options == [1]
        assert solutions[RYE.prompt].explanation == RYE.explanation
        assert solutions[LEAVEN.prompt].correct_options == [0, 2]
        assert solutions[CRUST.prompt].accepted_answers == CRUST.accepted_answers


async def test_right_answers_are_told_after_passing_and_not_during_another_attempt(
    education: RunningEducation,
) -> None:
    at = await _examinee(education)
    passed = await at.succeed()
    assert all(question.solution.correct for question in passed.questions)
    await at.start()
    assert not any(question.HasField("solution") for question in (await at.attempt(passed.id)).questions)


async def test_no_other_answer_carries_what_is_right(education: RunningEducation) -> None:
    """Neither the course, nor the quiz, nor a list of attempts, nor a learner's export."""
    at = await _examinee(education, max_attempts=3)
    await at.fail()
    secrets = (RYE.explanation, CRUST.accepted_answers[0], "correct")
    course = await at.person.read(at.course_id)
    for message in (course, await at.quiz(), await at.quizzes(), await at.attempts()):
        assert not any(secret in str(message) for secret in secrets)
    assert not course.modules[0].lessons[0].quiz.questions
    exported = await education.replica.infrastructure.database.transaction(
        lambda connection: exported_by(QuizStore(), connection, user_id=at.person.id)
    )
    (attempt,) = exported["quizAttempts"]
    assert {answer["text"] for answer in attempt["answers"]} == {"", "crumb"}
    assert (attempt["points"], attempt["passed"]) == (0, False)
    assert not any(secret in str(exported) for secret in secrets)


async def test_an_export_tells_no_points_of_an_open_attempt(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    await at.save(attempt.id, answers_to(attempt, RIGHT))
    exported = await education.replica.infrastructure.database.transaction(
        lambda connection: exported_by(QuizStore(), connection, user_id=at.person.id)
    )
    (shown,) = exported["quizAttempts"]
    assert (shown["points"], shown["maxPoints"], shown["passed"]) == (None, 4, None)


@pytest.mark.parametrize(
    ("scoring", "counts"),
    [(course_pb2.QUIZ_SCORING_HIGHEST, 4), (course_pb2.QUIZ_SCORING_LATEST, 0)],
)
async def test_the_highest_or_the_latest_attempt_counts_and_passing_is_for_good(
    education: RunningEducation, scoring: course_pb2.QuizScoring.ValueType, counts: int
) -> None:
    at = await _examinee(education, scoring=scoring)
    assert not (await at.quiz()).HasField("result")
    await at.succeed()
    await at.fail()
    status = await at.quiz()
    assert (status.result.points, status.passed, status.started_attempts) == (counts, True, 2)
    assert status.rules.scoring == scoring
    (enrollment,) = (await at.person.enrolled()).enrollments
    assert enrollment.state == enrollment_pb2.ENROLLMENT_STATE_COMPLETED


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({"question_index": 3}, "answers[0].questionIndex"),
        ({"question_index": 0, "selected_options": [19]}, "answers[0]"),
        ({"question_index": 100}, "answers[0].questionIndex"),
        ({"question_index": -1}, "answers[0].questionIndex"),
        ({"question_index": 0, "selected_options": [1, 1]}, "answers[0].selectedOptions"),
        ({"question_index": 0, "text": "x" * 201}, "answers[0].text"),
        ({"question_index": 0, "text": "a\0b"}, "answers[0].text"),
    ],
)
async def test_answers_that_are_none_are_refused(
    education: RunningEducation, answer: dict[str, Any], field: str
) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    for call in (at.save, at.submit):
        refused = await refusal(call(attempt.id, [pb.AttemptAnswer(**answer)]))
        assert (refused.code, refused.fields) == ("INVALID_ARGUMENT", (field,))
    assert (await at.attempt(attempt.id)).state == pb.ATTEMPT_STATE_OPEN


async def test_answers_do_not_repeat(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    twice = [pb.AttemptAnswer(question_index=0, selected_options=[0])] * 2
    assert (await refusal(at.save(attempt.id, twice))).fields == ("answers[1].questionIndex",)
    assert (await refusal(at.save(attempt.id, ()))).fields == ("answers",)


async def test_what_is_somebody_elses_does_not_exist(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    for person in (education.person(), education.admin()):
        other = Examinee(person, at.course_id, at.lesson_id)
        for call in (other.attempt(attempt.id), other.submit(attempt.id), other.save(attempt.id, [pb.AttemptAnswer()])):
            assert (await refusal(call)).reason == "ATTEMPT_NOT_FOUND"
        for reading in (other.quiz(), other.quizzes(), other.start()):
            refused = await refusal(reading)
            assert (refused.code, refused.reason) == ("NOT_FOUND", "ENROLLMENT_NOT_FOUND")
        assert not (await other.attempts()).attempts
    assert (await refusal(at.attempt(new_id()))).reason == "ATTEMPT_NOT_FOUND"
    assert (await refusal(Examinee(education.anyone(), at.course_id, at.lesson_id).start())).reason == "TOKEN_MISSING"


async def test_a_lesson_that_is_no_quiz_is_none(education: RunningEducation) -> None:
    course = await education.educator().published()
    person = education.person()
    await person.enroll(course.id)
    for lesson_id in (course.modules[0].lessons[0].id, new_id()):
        at = Examinee(person, course.id, lesson_id)
        for call in (at.quiz(), at.start()):
            refused = await refusal(call)
            assert (refused.code, refused.reason) == ("NOT_FOUND", "QUIZ_NOT_FOUND")


async def test_quizzes_and_attempts_are_listed_in_pages(education: RunningEducation) -> None:
    modules = [*MODULES, *(quiz_module(title=str(number), required=False) for number in range(3))]
    course = await education.educator().published(modules=modules)
    at = await examinee(course, education.person())
    for _ in range(3):
        await at.fail()
    first = await at.quizzes(page_size=2)
    second = await at.quizzes(page_size=2, page_token=first.next_page_token)
    listed = [*first.quizzes, *second.quizzes]
    assert [(quiz.title, quiz.started_attempts) for quiz in listed] == [("0", 3), ("1", 0), ("2", 0)]
    assert not second.next_page_token
    newest = await at.attempts(page_size=2)
    oldest = await at.attempts(page_size=2, page_token=newest.next_page_token)
    assert [attempt.number for attempt in (*newest.attempts, *oldest.attempts)] == [3, 2, 1]
    assert not any(attempt.questions for attempt in newest.attempts)
    stolen = Examinee(education.person(), at.course_id, at.lesson_id)
    assert (await refusal(stolen.attempts(page_token=newest.next_page_token))).reason == "PAGE_TOKEN_INVALID"


async def test_an_attempt_is_graded_by_the_revision_it_was_drawn_from(education: RunningEducation) -> None:
    """Whatever is published meanwhile, also that what was wrong is right."""
    educator = education.educator()
    course = await educator.published(modules=[quiz_module()])
    at = await examinee(course, education.person())
    attempt = await at.start()
    quiz = course_pb2.Quiz(questions=POOL, pass_basis_points=5000)
    for question in quiz.questions:
        for place, option in enumerate(question.options):
            option.correct = place in WRONG[question.prompt].selected_options
        if question.accepted_answers:
            question.accepted_answers[:] = [WRONG[question.prompt].text]
    where = {"course_id": course.id, "module_id": course.modules[0].id, "lesson_id": at.lesson_id}
    await authoring.call(educator, "UpdateLesson", **where, lesson={"quiz": quiz})
    assert (await educator.publish(course.id)).revision == 2
    newcomer = await examinee(course, education.person())
    assert (await newcomer.fail()).result.basis_points == 10000, "graded by the newer revision"
    graded = await at.submit(attempt.id, answers_to(attempt, RIGHT))
    assert (graded.result.passed, graded.result.basis_points) == (True, 10000)
    assert len(graded.questions) == len(POOL)


@pytest.mark.own
async def test_an_erased_person_leaves_no_answer(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    await at.save(attempt.id, answers_to(attempt, WRONG))
    assert not await education.replica.persons.erase_person(user_id=at.person.id)
    for table in ("quiz_attempts", "enrollments", "lesson_completions"):
        assert not await education.sql(f"SELECT FROM {table}")


async def _true(value: object) -> bool:
    return bool(value)
