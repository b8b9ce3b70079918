"""Quiz operations: attempts, answers and grades."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.education import errors
from services.education.courses.model import LessonKind
from services.education.enrollments.operations import refuse_inactive, refuse_locked
from services.education.quizzes.model import (
    MAX_ATTEMPTS,
    Attempt,
    AttemptState,
    GradeAttempt,
    QuizStatus,
    ReadAttempt,
    Standing,
    grade,
)
from services.shared.errors import ValidationFailed
from services.shared.ids import new_id
from services.shared.jobs import enqueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import CourseContent, Lesson, Question, Quiz
    from services.education.courses.store import CourseStore
    from services.education.enrollments.model import Enrollment, Learner
    from services.education.enrollments.operations import EnrollmentOperations
    from services.education.enrollments.store import EnrollmentStore
    from services.education.quizzes.model import Answer
    from services.education.quizzes.store import QuizStore
    from services.shared.db import Database
    from services.shared.idempotency import IdempotencyRecords, Idempotent, Response
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal

_random = secrets.SystemRandom()


class QuizOperations:
    """Quizzes and attempts of the caller.

    Everything that writes an attempt locks its enrolment first, as completing a lesson does: so there is one open
    attempt, and an attempt that passes completes its lesson in the same transaction.
    """

    def __init__(
        self,
        *,
        database: Database,
        records: IdempotencyRecords,
        store: QuizStore,
        courses: CourseStore,
        enrollments: EnrollmentStore,
        enrollment_operations: EnrollmentOperations,
        pages: PageTokens,
    ) -> None:
        self._database = database
        self._records = records
        self._store = store
        self._courses = courses
        self._enrollments = enrollments
        self._enrollment_operations = enrollment_operations
        self._pages = pages

    async def list_quizzes(
        self, *, principal: Principal, course_id: str, page_size: int, page_token: str
    ) -> Page[QuizStatus]:
        """Return a page of the quizzes of the caller's course revision. Raises EnrollmentNotFound, PageTokenInvalid."""
        bound_to = {"method": "ListQuizzes", "user": principal.user_id, "course": course_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            learner = await self._learner(connection, principal, course_id)
            revision = learner.enrollment.course_revision
            content = await self._courses.find_content(connection, course_id, revision)
            places = {lesson.id: place for place, lesson in enumerate(content.lessons)}
            # A token of another revision goes on from the same place of this one.
            after = request.cursor[0] if request.cursor else -1
            quizzes = [
                lesson for lesson in content.lessons if lesson.kind is LessonKind.QUIZ and places[lesson.id] > after
            ]
            shown = await self._statuses(connection, learner, content, quizzes[: request.limit])
        return request.page(shown, lambda status: [places[status.lesson_id]])

    async def get_quiz(self, *, principal: Principal, course_id: str, lesson_id: str) -> QuizStatus:
        """Return a quiz with what the caller has made of it. Raises EnrollmentNotFound, QuizNotFound."""
        async with self._database.reading() as connection:
            learner = await self._learner(connection, principal, course_id)
            content = await self._courses.find_content(connection, course_id, learner.enrollment.course_revision)
            lesson, _ = _quiz(content.lesson(lesson_id))
            (status,) = await self._statuses(connection, learner, content, [lesson])
        return status

    async def list_attempts(
        self, *, principal: Principal, course_id: str, lesson_id: str, page_size: int, page_token: str
    ) -> Page[ReadAttempt]:
        """Return a page of the caller's attempts at a quiz, newest first. Raises PageTokenInvalid."""
        bound_to = {
            "method": "ListAttempts",
            "user": principal.user_id,
            "course": course_id,
            "lesson": lesson_id,
        }
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_attempts(
                connection, request, user_id=principal.user_id, course_id=course_id, lesson_id=lesson_id
            )
        now = datetime.now(UTC)
        read = [ReadAttempt(attempt, attempt.state(now), shows_solutions=False) for attempt in found]
        return request.page(read, lambda shown: [shown.attempt.number])

    async def get_attempt(self, *, principal: Principal, attempt_id: str) -> ReadAttempt:
        """Return one of the caller's attempts, graded if its deadline has passed. Raises AttemptNotFound."""
        async with self._database.reading() as connection:
            attempt = _own(await self._store.find_attempt(connection, attempt_id), principal)
            return await self._read(connection, attempt, datetime.now(UTC))

    async def start_attempt(
        self,
        *,
        principal: Principal,
        course_id: str,
        lesson_id: str,
        idempotent: Idempotent[ReadAttempt, Response],
    ) -> Response:
        """Draw the questions of a new attempt, and start its time.

        Raises EnrollmentNotFound, QuizNotFound, EnrollmentNotActive, AttemptAlreadyOpen, LessonLocked,
        AttemptsExhausted.
        """

        async def work(connection: AsyncConnection) -> ReadAttempt:
            enrollment = await self._enrollments.lock_enrollment_of(connection, principal.user_id, course_id)
            if enrollment is None:
                raise errors.EnrollmentNotFound
            content = await self._courses.find_content(connection, course_id, enrollment.course_revision)
            _, quiz = _quiz(content.lesson(lesson_id))
            refuse_inactive(enrollment)
            now = datetime.now(UTC)
            before = await self._store.find_ungraded(connection, enrollment_id=enrollment.id, lesson_id=lesson_id)
            if before is not None:
                if before.state(now) is AttemptState.OPEN:
                    raise errors.AttemptAlreadyOpen(attempt_id=before.id)
                enrollment = await self._grade(connection, enrollment, before.expired())
            learner = await self._learner(connection, principal, course_id)
            refuse_locked(content, lesson_id, learner.completions.keys())
            number = (await self._standing(connection, enrollment.id, lesson_id, now)).started + 1
            if number > (quiz.max_attempts or MAX_ATTEMPTS):
                raise errors.AttemptsExhausted(max_attempts=quiz.max_attempts or MAX_ATTEMPTS)
            attempt = _drawn(enrollment, lesson_id, quiz, number, now)
            await self._store.insert_attempt(connection, attempt)
            if quiz.time_limit_seconds:
                delay = timedelta(seconds=quiz.time_limit_seconds)
                await enqueue(connection, GradeAttempt(attempt.id), delay=delay)
            return ReadAttempt(attempt, AttemptState.OPEN, shows_solutions=False)

        return await self._records.run(idempotent, work)

    async def save_answers(
        self, *, principal: Principal, attempt_id: str, answers: Mapping[int, Answer]
    ) -> ReadAttempt:
        """Save answers of an open attempt, beside those to other questions.

        Raises AttemptNotFound, ValidationFailed, EnrollmentNotActive, AttemptExpired, AttemptSubmitted.
        """

        async def work(connection: AsyncConnection) -> ReadAttempt:
            enrollment, attempt = await self._locked(connection, principal, attempt_id)
            now = datetime.now(UTC)
            _check(attempt, answers)
            _refuse_closed(attempt, now)
            refuse_inactive(enrollment)
            after = attempt.answered(answers)
            await self._store.update_attempt(connection, after)
            return ReadAttempt(after, AttemptState.OPEN, shows_solutions=False)

        return await self._database.transaction(work)

    async def submit_attempt(
        self,
        *,
        principal: Principal,
        attempt_id: str,
        answers: Mapping[int, Answer],
        idempotent: Idempotent[ReadAttempt, Response],
    ) -> Response:
        """Save answers, grade the attempt, and complete its lesson if it passes.

        A graded attempt is returned as it is if it has these answers. Raises AttemptNotFound, ValidationFailed,
        EnrollmentNotActive, AttemptExpired, AttemptSubmitted.
        """

        async def work(connection: AsyncConnection) -> ReadAttempt:
            enrollment, attempt = await self._locked(connection, principal, attempt_id)
            now = datetime.now(UTC)
            _check(attempt, answers)
            if attempt.state(now) is AttemptState.OPEN:
                refuse_inactive(enrollment)
                attempt = attempt.answered(answers).submitted(now)
                await self._grade(connection, enrollment, attempt)
            elif not attempt.has_answers(answers):
                _refuse_closed(attempt, now)
            elif attempt.grade_time is None:
                attempt = attempt.expired()
                await self._grade(connection, enrollment, attempt)
            return await self._read(connection, attempt, now)

        # All that refuses comes before the first write.
        return await self._records.run(idempotent, work, savepoint=False)

    async def grade_attempt(self, job: GradeAttempt) -> None:
        """Write what follows from an attempt whose deadline has passed, unless that was done."""

        async def work(connection: AsyncConnection) -> None:
            found = await self._store.find_attempt(connection, job.attempt_id)
            enrollment = found and await self._enrollments.lock_enrollment(connection, found.enrollment_id)
            attempt = enrollment and await self._store.find_attempt(connection, job.attempt_id)
            if not attempt or not enrollment or attempt.grade_time is not None:
                return
            if attempt.state(datetime.now(UTC)) is AttemptState.OPEN:
                # The clock of the database, which runs the job, is ahead of this process's.
                await enqueue(connection, job, delay=timedelta(seconds=1))
                return
            await self._grade(connection, enrollment, attempt.expired())

        await self._database.transaction(work)

    async def _grade(self, connection: AsyncConnection, enrollment: Enrollment, attempt: Attempt) -> Enrollment:
        """Write a graded attempt, and complete its lesson if it has passed; return the enrolment as it is then."""
        await self._store.update_attempt(connection, attempt)
        if not attempt.result.passed:
            return enrollment
        revision = enrollment.course_revision
        content = await self._courses.find_content(connection, enrollment.course_id, revision)
        return await self._enrollment_operations.complete(
            connection, enrollment=enrollment, lesson_id=attempt.lesson_id, lesson=content.lesson(attempt.lesson_id)
        )

    async def _locked(
        self, connection: AsyncConnection, principal: Principal, attempt_id: str
    ) -> tuple[Enrollment, Attempt]:
        """Return the caller's attempt with its enrolment, unchanged by others until the transaction ends."""
        found = _own(await self._store.find_attempt(connection, attempt_id), principal)
        enrollment = await self._enrollments.lock_enrollment(connection, found.enrollment_id)
        # Again: what was read before the lock may have changed.
        attempt = await self._store.find_attempt(connection, attempt_id)
        if enrollment is None or attempt is None:
            raise errors.AttemptNotFound
        return enrollment, attempt

    async def _learner(self, connection: AsyncConnection, principal: Principal, course_id: str) -> Learner:
        learner = await self._enrollments.find_learner_of(connection, principal.user_id, course_id)
        if learner is None:
            raise errors.EnrollmentNotFound
        return learner

    async def _standing(
        self, connection: AsyncConnection, enrollment_id: str, lesson_id: str, now: datetime
    ) -> Standing:
        found = await self._store.list_standings(
            connection, enrollment_id=enrollment_id, lesson_ids=[lesson_id], now=now
        )
        return found.get(lesson_id, Standing())

    async def _statuses(
        self, connection: AsyncConnection, learner: Learner, content: CourseContent, lessons: Sequence[Lesson]
    ) -> list[QuizStatus]:
        standings = await self._store.list_standings(
            connection,
            enrollment_id=learner.enrollment.id,
            lesson_ids=[lesson.id for lesson in lessons],
            now=datetime.now(UTC),
        )
        locks = content.locks_by_lesson(learner.completions.keys())
        return [
            QuizStatus(
                lesson_id=lesson.id,
                title=lesson.title,
                quiz=lesson.quiz,
                standing=standings.get(lesson.id, Standing()),
                locks=locks[lesson.id],
            )
            for lesson in lessons
            if lesson.quiz
        ]

    async def _read(self, connection: AsyncConnection, attempt: Attempt, now: datetime) -> ReadAttempt:
        standing = await self._standing(connection, attempt.enrollment_id, attempt.lesson_id, now)
        return ReadAttempt(attempt, attempt.state(now), standing.shows_solutions(attempt.max_attempts))


def _own(attempt: Attempt | None, principal: Principal) -> Attempt:
    if attempt is None or attempt.user_id != principal.user_id:
        raise errors.AttemptNotFound
    return attempt


def _quiz(lesson: Lesson | None) -> tuple[Lesson, Quiz]:
    if lesson is None or lesson.quiz is None:
        raise errors.QuizNotFound
    return lesson, lesson.quiz


def _refuse_closed(attempt: Attempt, now: datetime) -> None:
    state = attempt.state(now)
    if state is AttemptState.SUBMITTED:
        raise errors.AttemptSubmitted
    if state is AttemptState.EXPIRED:
        raise errors.AttemptExpired(deadline=attempt.deadline.isoformat() if attempt.deadline else "")


def _check(attempt: Attempt, answers: Mapping[int, Answer]) -> None:
    """Raise ValidationFailed for answers that are none to the attempt's questions."""
    for number, (place, answer) in enumerate(answers.items()):
        if place >= len(attempt.questions):
            raise ValidationFailed.field(
                f"answers[{number}].questionIndex", f"must be an index of the {len(attempt.questions)} questions"
            )
        if fault := answer.fault(attempt.questions[place]):
            raise ValidationFailed.field(f"answers[{number}]", fault)


def _drawn(enrollment: Enrollment, lesson_id: str, quiz: Quiz, number: int, now: datetime) -> Attempt:
    questions: Sequence[Question] = _random.sample(quiz.questions, quiz.questions_per_attempt)
    limit = quiz.time_limit_seconds
    return Attempt(
        id=new_id(),
        enrollment_id=enrollment.id,
        user_id=enrollment.user_id,
        course_id=enrollment.course_id,
        lesson_id=lesson_id,
        number=number,
        pass_basis_points=quiz.pass_basis_points,
        max_attempts=quiz.max_attempts,
        questions=tuple(questions),
        answers={},
        result=grade(questions, {}, quiz.pass_basis_points),
        start_time=now,
        deadline=now + timedelta(seconds=limit) if limit else None,
        submit_time=None,
        grade_time=None,
    )
