"""What older versions wrote, under the newest schema."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from services.education.courses.model import LessonKind
from services.education.courses.store import CourseStore
from services.shared.db import Database
from services.shared.ids import new_id
from services.shared.migrations import upgrade

if TYPE_CHECKING:
    from tests.support.postgres import Databases

ROWS = """
INSERT INTO courses (id, educator_id, state, title, description, price_minor, price_currency, reward_minor,
    lesson_count, revision)
    VALUES ('{course}', '{educator}', 'PUBLISHED', 'T', 'D', 4900, 'AZR', 0, 1, 1);
INSERT INTO course_revisions VALUES ('{course}', 1, 'T', 'D', 4900, 'AZR', 0, 1, '[]');
INSERT INTO enrollments (id, user_id, course_id, course_revision, state, key, open_time, refused, required_lessons,
    refund_window_closed)
    VALUES ('{poor}', '{poor}', '{course}', 1, 'CANCELLED', 'k', now(), true, 1, false),
    ('{done}', '{done}', '{course}', 1, 'COMPLETED', 'k', now(), false, 1, true);
INSERT INTO refunded_payments (payment_id) VALUES ('{payment}');
"""


async def test_refusals_and_refunded_payments_of_older_versions_are_kept(databases: Databases) -> None:
    ids = {name: new_id() for name in ["course", "educator", "poor", "done", "payment"]}
    async with databases.old("education", "0005") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(ROWS.format(**ids))
        await upgrade("education", clone.owner_url)
        refusals = await owner.fetch("SELECT id, refusal FROM enrollments")
        closed = await owner.fetch("SELECT payment_id FROM closed_payments WHERE close_time <= now()")
        await owner.close()
    assert {str(row["id"]): row["refusal"] for row in refusals} == {
        ids["poor"]: "INSUFFICIENT_FUNDS",
        ids["done"]: None,
    }
    assert [str(row["payment_id"]) for row in closed] == [ids["payment"]]


DRAFT = """
INSERT INTO courses (id, educator_id, title, description, price_minor, price_currency, reward_minor, lesson_count)
    VALUES ('{course}', '{educator}', 'T', 'D', 0, 'AZR', 0, 2);
INSERT INTO modules VALUES ('{module}', '{course}', 0, 'First'), (gen_random_uuid(), '{course}', 1, 'Second');
INSERT INTO lessons VALUES ('{lesson}', '{module}', 1, 'Water', 'VIDEO', false, 'Warm.');
INSERT INTO lessons VALUES (gen_random_uuid(), '{module}', 0, 'Flour', 'ARTICLE', true, 'Rye.');
"""


async def test_drafts_of_older_versions_are_kept_with_those_written_while_both_serve(databases: Databases) -> None:
    before, meanwhile = ({name: new_id() for name in ["course", "educator", "module", "lesson"]} for _ in range(2))
    async with databases.old("education", "0013") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(DRAFT.format(**before))
        await upgrade("education", clone.owner_url)
        for statement in DRAFT.format(**meanwhile).split(";")[:-1]:
            await owner.execute(statement)
        store = CourseStore()
        database = Database(clone.app_url)
        async with database.reading() as connection:
            drafts = [await store.find_draft(connection, ids["course"]) for ids in (before, meanwhile)]
        await database.close()
        await owner.close()
    for draft, ids in zip(drafts, (before, meanwhile), strict=True):
        assert draft
        first, second = draft[1].modules
        flour, water = first.lessons
        assert (first.id, first.title, first.sequential, second.lessons) == (ids["module"], "First", False, ())
        assert (flour.title, flour.required, flour.content) == ("Flour", True, "Rye.")
        assert (water.id, water.kind, water.required, water.quiz) == (ids["lesson"], LessonKind.VIDEO, False, None)


COMPLETED = """
INSERT INTO courses (id, educator_id, state, title, description, price_minor, price_currency, reward_minor,
    lesson_count, revision)
    VALUES ('{course}', '{educator}', 'PUBLISHED', 'T', 'D', 0, 'AZR', 0, 1, 1);
INSERT INTO course_revisions (course_id, number, title, description, price_minor, price_currency, reward_minor,
    lesson_count, modules)
    VALUES ('{course}', 1, 'T', 'D', 0, 'AZR', 0, 1, '[]');
INSERT INTO enrollments (id, user_id, course_id, course_revision, state, key, open_time, required_lessons,
    complete_time)
    VALUES ('{learning}', '{learning}', '{course}', 1, 'ACTIVE', 'k', now(), 1, NULL),
    ('{done}', '{done}', '{course}', 1, 'COMPLETED', 'k', now(), 1, '2026-01-02T03:04:05.678Z');
"""


async def test_what_was_completed_before_there_were_certificates_has_one(databases: Databases) -> None:
    ids = {name: new_id() for name in ["course", "educator", "learning", "done"]}
    async with databases.old("education", "0022") as clone:
        owner = await asyncpg.connect(clone.owner_url.replace("+asyncpg", ""))
        await owner.execute(COMPLETED.format(**ids))
        await upgrade("education", clone.owner_url)
        rows = await owner.fetch(
            "SELECT user_id, course_id, course_revision, issue_time, revoke_time FROM certificates"
        )
        await owner.close()
    issue_time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert [(str(row["user_id"]), str(row["course_id"]), *row[2:]) for row in rows] == [
        (ids["done"], ids["course"], 1, issue_time, None)
    ]
