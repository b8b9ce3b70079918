"""Reads that do not grow with what there is, and answers from memory that are never older than a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import course_service_pb2

from services.education.catalogue.store import list_statement
from services.education.certificates.store import INDEX_MAX
from services.education.certificates.store import LIST as LIST_CERTIFICATES
from services.education.courses.drafts import LIST_REVISIONS
from services.education.courses.model import CourseOrder
from services.education.courses.store import LIST_OF_EDUCATOR
from services.education.enrollments.store import LIST
from services.education.quizzes.store import INT32_MAX
from services.education.quizzes.store import LIST as LIST_ATTEMPTS
from services.shared.db import ID_MAX
from services.shared.ids import new_id
from tests.support.education import running_education
from tests.support.learning import search
from tests.support.plans import explain
from tests.support.statements import recorded_statements
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from typing import Any

    from tests.support.education import RunningEducation
    from tests.support.postgres import Clone

EDUCATOR, LEARNER, COURSE = new_id(), new_id(), new_id()
MANY = """
INSERT INTO courses (id, educator_id, state, title, description, price_minor, price_currency, reward_minor,
                     lesson_count, revision)
SELECT gen_random_uuid(), $1::uuid, 'DRAFT', 'T', 'D', 0, 'AZR', 0, 1, 1 FROM generate_series(1, 6000) AS n;
"""
REVISIONS = """
INSERT INTO course_revisions (course_id, number, title, description, price_minor, price_currency, reward_minor,
                              lesson_count, modules, language)
SELECT id, 1, 'T' || id, 'D', n % 50 * 100, 'AZR', 0, 1, '[]', CASE WHEN n % 3 = 0 THEN 'de' ELSE 'en' END
FROM (SELECT id, row_number() OVER () AS n FROM courses) AS numbered;
"""
COURSES = """
INSERT INTO courses (id, educator_id, state, title, description, price_minor, price_currency, reward_minor,
                     lesson_count, revision)
SELECT CASE WHEN n = 1 THEN $1::uuid ELSE gen_random_uuid() END, gen_random_uuid(), 'DRAFT', 'T', 'D', 0, 'AZR', 0, 1, 1
FROM generate_series(1, 100) AS n
"""
OLD_REVISIONS = """
INSERT INTO course_revisions (course_id, number, title, description, price_minor, price_currency, reward_minor,
                              lesson_count, modules, language)
SELECT id, n, 'T', 'D', 0, 'AZR', 0, 1, '[]', 'en'
FROM courses, generate_series(1, CASE WHEN id = $1::uuid THEN 1000 ELSE 1 END) AS n
"""
CERTIFIED = """
INSERT INTO certificates (user_id, course_id, course_revision, issue_time)
SELECT CASE WHEN n = 1 THEN $1::uuid ELSE user_id END, id, 1, now()
FROM (SELECT n, gen_random_uuid() AS user_id FROM generate_series(1, 100) AS n) AS people, courses ORDER BY n
"""
PUBLISHED = "UPDATE courses SET state = 'PUBLISHED' WHERE id::text < 'a'"
ENROLLED = """
INSERT INTO enrollments (id, user_id, course_id, course_revision, state, key, open_time, required_lessons, enroll_time)
SELECT gen_random_uuid(), CASE WHEN n <= 3000 THEN $1::uuid ELSE gen_random_uuid() END, id, 1, 'ACTIVE', n::text, now(),
       1, now()
FROM (SELECT id, row_number() OVER () AS n FROM courses) AS numbered;
"""


ATTEMPTED = """
INSERT INTO quiz_attempts (id, enrollment_id, lesson_id, number, pass_basis_points, questions, answers, points,
                           max_points, passed, start_time, grade_time)
SELECT gen_random_uuid(), enrolled.id, $2::uuid, n, 1, '[]', '{}', 0, 1, false, now(), now()
FROM generate_series(1, 100) AS n,
    (SELECT id, row_number() OVER (ORDER BY id) AS place FROM enrollments WHERE user_id = $1::uuid) AS enrolled
WHERE place <= 20;
"""
LESSON = new_id()


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        *((list_statement(order, frozenset(), first=True), {}) for order in CourseOrder),
        (list_statement(CourseOrder.NEWEST, frozenset(), first=False), {"after_0": ID_MAX}),
        (list_statement(CourseOrder.PRICE, frozenset(), first=False), {"after_0": "", "after_1": 0, "after_2": ID_MAX}),
        (list_statement(CourseOrder.NEWEST, frozenset({"language"}), first=True), {"primary_language": "de"}),
        (LIST_OF_EDUCATOR, {"educator_id": EDUCATOR}),
        (LIST, {"user_id": LEARNER}),
    ],
    ids=[*CourseOrder, "next", "next by price", "in a language", "mine", "enrolments"],
)
async def test_a_page_reads_no_more_than_it_shows(
    education: RunningEducation, statement: Any, values: dict[str, Any]
) -> None:
    await education.sql(MANY, EDUCATOR)
    await education.sql(REVISIONS)
    await education.sql(PUBLISHED)
    await education.sql(ENROLLED, LEARNER)
    plan = await explain(education.owner_url, statement, {"after": ID_MAX, "count": 21} | values)
    assert not plan.sorts
    assert plan.rows_read <= 21


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (LIST_CERTIFICATES, {"user_id": LEARNER, "before": INDEX_MAX}),
        (LIST_REVISIONS, {"course_id": COURSE, "after": INT32_MAX}),
    ],
    ids=["certificates", "revisions"],
)
async def test_a_page_of_what_only_grows_reads_no_more_than_it_shows(
    education: RunningEducation, statement: Any, values: dict[str, Any]
) -> None:
    """The learner's certificates are older than everyone else's."""
    for script in (COURSES, OLD_REVISIONS):
        await education.sql(script, COURSE)
    await education.sql(CERTIFIED, LEARNER)
    plan = await explain(education.owner_url, statement, values | {"count": 21})
    assert not plan.sorts
    assert plan.rows_read <= 21


async def test_a_change_is_seen_at_once_by_who_edits_and_in_a_second_by_everyone(
    education: RunningEducation, education_database: Clone
) -> None:
    """Also on the other replica, which did not make the change."""
    educator = education.educator()
    course = await educator.published(title="Sourdough")
    async with running_education(education_database.app_url, education_database.owner_url) as other:
        reader = other.anyone()
        assert (await reader.read(course.id)).title == "Sourdough"
        await education.sql("UPDATE courses SET title = 'Rye', version = version + 1 WHERE id = $1", course.id)
        await educator.publish(course.id)
        assert (await education.anyone().read(course.id)).title == "Rye"
        assert [listed.title for listed in (await education.anyone().list()).courses] == ["Rye"]
        assert (await educator.read(course.id)).title == "Rye"
        await eventually(lambda: _titled(other, course.id, "Rye"), within_seconds=2)


async def test_what_is_answered_from_memory_is_the_answer_of_each_reader(education: RunningEducation) -> None:
    """No reader is given what another may see: lessons, drafts, or the page of another size."""
    educator = education.educator()
    course, draft = await educator.published(), await educator.write()
    enrolled, stranger = education.person(), education.person()
    await enrolled.enroll(course.id)
    for _ in range(2):
        assert (await enrolled.read(course.id)).modules[0].lessons[0].content
        assert not (await stranger.read(course.id)).modules[0].lessons[0].content
        assert not (await education.anyone().read(course.id)).modules[0].lessons[0].content
        assert (await educator.read(draft.id)).modules[0].lessons[0].content
        assert len((await stranger.list(page_size=1)).courses) == 1
        assert len((await educator.list(mine=True)).courses) == 2
        assert len((await stranger.list()).courses) == 1


async def test_answers_are_kept_until_there_is_a_new_generation(education: RunningEducation) -> None:
    """They come from memory: a change that no service makes, and that counts as none, is not seen before."""
    course, reader = await education.educator().published(title="Sourdough", language="en"), education.anyone()

    async def titles() -> list[str]:
        pages = (await reader.list(), await reader.list(language="en"), await search(reader, "bread"))
        read = await reader.read(course.id)
        return [shown.title for shown in (*(listed for page in pages for listed in page.courses), read)]

    async def all_are_titled(title: str) -> bool:
        return await titles() == [title] * 4

    assert await all_are_titled("Sourdough")
    await education.sql("UPDATE course_revisions SET title = 'Rye'")
    assert await all_are_titled("Sourdough")
    await education.sql("UPDATE catalogue SET generation = generation + 1")
    await eventually(lambda: all_are_titled("Rye"))


async def test_an_educator_who_is_none_any_more_is_a_reader(education: RunningEducation) -> None:
    educator = education.educator()
    course, draft = await educator.published(), await educator.write()
    demoted = education.person(user_id=educator.id)
    assert not (await demoted.read(course.id)).modules[0].lessons[0].content
    assert not (await education.anyone().read(course.id)).modules[0].lessons[0].content
    with pytest.raises(Exception, match="not found"):
        await demoted.read(draft.id)


async def test_tokens_of_the_catalogue_are_good_for_everyone(education: RunningEducation) -> None:
    educator = education.educator()
    for _ in range(3):
        await educator.published()
    page = await education.anyone().list(page_size=2)
    following = await education.person().list(page_size=2, page_token=page.next_page_token)
    assert len(following.courses) == 1
    assert isinstance(following, course_service_pb2.ListCoursesResponse)


async def _titled(education: RunningEducation, course_id: str, title: str) -> bool:
    return (await education.anyone().read(course_id)).title == title


async def test_a_page_of_attempts_reads_no_more_than_it_shows(education: RunningEducation) -> None:
    for statement, *arguments in ((MANY, EDUCATOR), (REVISIONS,), (ENROLLED, LEARNER), (ATTEMPTED, LEARNER, LESSON)):
        await education.sql(statement, *arguments)
    ((course_id,),) = await education.sql(
        "SELECT course_id FROM enrollments WHERE id IN (SELECT enrollment_id FROM quiz_attempts) LIMIT 1"
    )
    values = {
        "user_id": LEARNER,
        "course_id": str(course_id),
        "lesson_id": LESSON,
        "before": INT32_MAX,
        "count": 21,
    }
    plan = await explain(education.owner_url, LIST_ATTEMPTS, values)
    assert not plan.sorts
    assert plan.rows_read <= 21


async def test_a_course_is_read_by_who_is_enrolled_in_one_prebuilt_statement(education_database: Clone) -> None:
    """Its lessons come from memory, that it is theirs to read from the database."""
    with recorded_statements() as statements:
        async with running_education(education_database.app_url, education_database.owner_url) as education:
            course, learner = await education.educator().published(), education.person()
            await learner.enroll(course.id)
            for _ in range(3):  # The first ones compile it and fill memories.
                assert (await learner.read(course.id)).modules[0].lessons[0].content
            assert len(await statements.prebuilt("GetCourse")) == 1
