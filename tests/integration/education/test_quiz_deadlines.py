"""Deadlines of attempts: decided when they are read, whether or not a job has run."""

from __future__ import annotations

from datetime import timedelta

from azora.education.v1 import assessment_pb2 as pb
from azora.education.v1 import enrollment_pb2
from google.protobuf.duration_pb2 import Duration

from services.education.quizzes.model import GradeAttempt
from tests.support.attempts import RIGHT, WRONG, Examinee, answers_to, examinee, quiz_module
from tests.support.education import RunningEducation, azr
from tests.support.refusals import refusal
from tests.support.waiting import eventually


async def _examinee(education: RunningEducation) -> Examinee:
    modules = [quiz_module(time_limit=Duration(seconds=600), max_attempts=3)]
    course = await education.admin().published(modules=modules, completion_reward=azr(1))
    return await examinee(course, education.person())


async def test_the_deadline_is_the_time_limit_after_the_start(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    assert attempt.deadline.ToDatetime() - attempt.start_time.ToDatetime() == timedelta(seconds=600)
    (job,) = await education.sql("SELECT execute_after - now() AS due FROM pgqueuer WHERE entrypoint = 'grade_attempt'")
    assert timedelta(seconds=500) < job["due"] <= timedelta(seconds=600)


async def test_what_was_saved_before_the_deadline_is_graded_and_what_comes_later_is_not(
    education: RunningEducation,
) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    wrong, right = answers_to(attempt, WRONG), answers_to(attempt, RIGHT)
    await at.save(attempt.id, [right[0], *wrong[1:]])
    await at.expire(attempt.id)
    for call in (at.save(attempt.id, right), at.submit(attempt.id, right)):
        refused = await refusal(call)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "ATTEMPT_EXPIRED")
        assert refused.metadata.keys() == {"deadline"}
    read = await at.attempt(attempt.id)
    assert (read.state, read.HasField("submit_time")) == (pb.ATTEMPT_STATE_EXPIRED, False)
    assert read.result.points == read.questions[0].points
    assert await at.submit(attempt.id) == read
    assert [listed.state for listed in (await at.attempts()).attempts] == [pb.ATTEMPT_STATE_EXPIRED]
    status = await at.quiz()
    assert (status.open_attempt_id, status.result) == ("", read.result)


async def test_an_attempt_whose_deadline_passed_makes_room_for_the_next(education: RunningEducation) -> None:
    at = await _examinee(education)
    for number in (1, 2, 3):
        attempt = await at.start()
        assert attempt.number == number
        await at.expire(attempt.id)
    assert (await refusal(at.start())).reason == "ATTEMPTS_EXHAUSTED"
    read = await at.attempt(attempt.id)
    assert all(question.HasField("solution") for question in read.questions)


async def test_an_attempt_that_passes_at_its_deadline_completes_the_course_by_its_job(
    education: RunningEducation,
) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    await at.save(attempt.id, answers_to(attempt, RIGHT))
    await at.expire(attempt.id)
    for _ in range(2):
        await education.replica.quizzes.grade_attempt(GradeAttempt(attempt.id))
    (enrollment,) = (await at.person.enrolled()).enrollments
    assert enrollment.state == enrollment_pb2.ENROLLMENT_STATE_COMPLETED
    await eventually(lambda: _true(education.payments.earned))
    assert education.payments.calls == {"earn": 1}


async def test_an_attempt_that_passes_at_its_deadline_counts_before_its_job_has_run(
    education: RunningEducation,
) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    await at.save(attempt.id, answers_to(attempt, RIGHT))
    (enrollment,) = (await at.person.enrolled()).enrollments
    assert (await refusal(at.person.complete(enrollment.id, at.lesson_id))).reason == "QUIZ_NOT_PASSED"
    await at.expire(attempt.id)
    assert (await at.quiz()).passed
    completed = await at.person.complete(enrollment.id, at.lesson_id)
    assert completed.state == enrollment_pb2.ENROLLMENT_STATE_COMPLETED
    await education.replica.quizzes.grade_attempt(GradeAttempt(attempt.id))
    await eventually(lambda: _true(education.payments.earned))
    assert education.payments.calls == {"earn": 1}


async def test_a_job_that_comes_before_the_deadline_comes_again(education: RunningEducation) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    await education.replica.quizzes.grade_attempt(GradeAttempt(attempt.id))
    assert (await at.attempt(attempt.id)).state == pb.ATTEMPT_STATE_OPEN
    await at.expire(attempt.id)
    await eventually(lambda: _graded(education, attempt.id))


async def test_an_attempt_in_a_cancelled_enrolment_completes_nothing_but_its_lesson(
    education: RunningEducation,
) -> None:
    at = await _examinee(education)
    attempt = await at.start()
    await at.save(attempt.id, answers_to(attempt, RIGHT))
    (enrollment,) = (await at.person.enrolled()).enrollments
    await at.person.cancel(enrollment.id)
    refused = await refusal(at.submit(attempt.id))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "ENROLLMENT_NOT_ACTIVE")
    assert (await refusal(at.save(attempt.id, answers_to(attempt, RIGHT)))).reason == "ENROLLMENT_NOT_ACTIVE"
    await at.expire(attempt.id)
    await education.replica.quizzes.grade_attempt(GradeAttempt(attempt.id))
    assert await education.state(at.person.id) == "CANCELLED"
    assert not education.payments.calls
    back = await at.person.enroll(at.course_id)
    assert back.state == enrollment_pb2.ENROLLMENT_STATE_COMPLETED


async def _graded(education: RunningEducation, attempt_id: str) -> bool:
    (row,) = await education.sql("SELECT grade_time FROM quiz_attempts WHERE id = $1", attempt_id)
    return row["grade_time"] is not None


async def _true(value: object) -> bool:
    return bool(value)
