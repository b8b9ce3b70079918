"""Versions of a course, and its content."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.education.courses.model import (
    Course,
    CourseContent,
    CourseState,
    Lesson,
    LessonKind,
    Module,
)
from services.education.courses.store import MAX_REVISION_BYTES, CourseStore
from services.shared.money import Money

NOW = datetime(2026, 11, 3, tzinfo=UTC)
DRAFT = Course(
    id="c",
    educator_id="u",
    educator_name="Edu Mentor",
    state=CourseState.DRAFT,
    title="Sourdough",
    description="",
    price=Money(0),
    completion_reward=Money(0),
    capacity=None,
    language="en",
    duration_seconds=0,
    prerequisites=(),
    lesson_count=1,
    revision=0,
    version=1,
    published_version=None,
    create_time=NOW,
    update_time=NOW,
    publish_time=None,
)
PUBLISHED = replace(DRAFT, version=2, published_version=2)
EDITED = replace(PUBLISHED, version=3)


@pytest.mark.parametrize(
    ("course", "etag", "matches"),
    [
        (DRAFT, "", True),
        (DRAFT, "1", True),
        (DRAFT, "0", False),
        (PUBLISHED, "2", True),
        (PUBLISHED, "1", True),
        (PUBLISHED, "0", False),
        (EDITED, "3", True),
        (EDITED, "2", False),
        (EDITED, "1", False),
    ],
)
def test_an_etag_matches_its_version_or_a_repeated_publication(course: Course, etag: str, matches: bool) -> None:
    assert course.matches(etag, unchanged=not course.changed) == matches


def test_only_what_differs_from_its_publication_is_changed() -> None:
    assert [course.changed for course in (DRAFT, PUBLISHED, EDITED)] == [True, False, True]


def test_content_is_read_lesson_by_lesson() -> None:
    lessons = [Lesson(str(number), "", LessonKind.ARTICLE, number != 1, "") for number in range(3)]
    content = CourseContent((Module("a", "", tuple(lessons[:2])), Module("b", "", tuple(lessons[2:]))))
    assert content.lessons == tuple(lessons)
    assert content.required_lesson_ids == ("0", "2")
    assert content.lesson("2") == lessons[2]
    assert content.lesson("3") is None


LARGE = [{"title": "", "kind": "ARTICLE", "required": True, "content": "\U0001f35e" + "x" * 49_999}] * 20
"""Lessons of 1 MB, which take four times as much in memory: one character is beyond U+FFFF."""


class Revisions:
    """Answers every query with a large revision, and counts them."""

    def __init__(self) -> None:
        self.queries = 0

    async def execute(self, *_: object) -> Revisions:
        self.queries += 1
        return self

    def scalar_one(self) -> list[object]:
        return [{"id": "m", "title": "", "lessons": [{"id": str(self.queries), **lesson} for lesson in LARGE]}]


async def test_the_revisions_last_read_are_remembered_as_far_as_memory_allows() -> None:
    store, database = CourseStore(), Revisions()
    remembered = MAX_REVISION_BYTES // 4_010_000
    for number in range(remembered + 1):
        for _ in range(2):
            await store.find_content(database, "c", number)  # type: ignore[arg-type]
            await store.find_content(database, "c", remembered)  # type: ignore[arg-type]
    assert database.queries == remembered + 1
    assert store.revisions.size_bytes <= MAX_REVISION_BYTES < store.revisions.size_bytes * 3 / 2
    await store.find_content(database, "c", remembered)  # type: ignore[arg-type]
    await store.find_content(database, "c", 0)  # type: ignore[arg-type]
    assert database.queries == remembered + 2
