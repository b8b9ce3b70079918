"""Search: what is found by which words, in which order, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.education.v1 import course_pb2
from azora.education.v1 import course_service_pb2 as pb

from services.education.catalogue import store
from services.shared.db import ID_MAX
from tests.support.education import azr
from tests.support.learning import search
from tests.support.plans import explain
from tests.support.quizzes import quiz
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from typing import Any

    from tests.support.education import Person, RunningEducation

MANY = """
WITH made AS (
    INSERT INTO courses (id, educator_id, state, title, description, price_minor, price_currency, reward_minor,
                         lesson_count, revision)
    SELECT gen_random_uuid(), gen_random_uuid(), 'DRAFT', 'T', 'D', 0, 'AZR', 0, 1, 1 FROM generate_series(1, $1::int)
    RETURNING id
)
INSERT INTO course_revisions (course_id, number, title, description, price_minor, price_currency, reward_minor,
                              lesson_count, modules, language)
SELECT id, 1, 'Word of course ' || n, CASE WHEN n % 100 = 0 THEN 'rare' ELSE 'often' END, 0, 'AZR', 0, 1, '[]', 'en'
FROM (SELECT id, row_number() OVER () AS n FROM made) AS numbered
"""
PUBLISH = "UPDATE courses SET state = 'PUBLISHED'"


async def found(reader: Person, query: str, **fields: Any) -> list[str]:
    """Return the titles of the first page."""
    return [course.title for course in (await search(reader, query, **fields)).courses]


@pytest.fixture
async def reader(education: RunningEducation) -> Person:
    """Publish courses and return someone who is not signed in."""
    educator = education.educator()
    modules = [
        pb.NewModule(
            title="Fermentation",
            lessons=[
                pb.NewLesson(title="Kneading", content="A secret ingredient: honey."),
                pb.NewLesson(title="Test", kind=course_pb2.LESSON_KIND_QUIZ, quiz=quiz()),
            ],
        )
    ]
    plain = [pb.NewModule(title="One", lessons=[pb.NewLesson(title="Two")])]
    await educator.published(title="Baking breads", description="Rye and wheat.", language="en", modules=modules)
    await educator.published(
        title="Rye", description="All about baking.", language="en-GB", price=azr(49_00), modules=plain
    )
    await educator.published(title="Brote backen", description="Häuser und Öfen.", language="de", modules=plain)
    await educator.published(title="パンを焼く", description="Running breads.", language="ja", modules=plain)
    chain = pb.NewModule(title="a_" * 99, lessons=[pb.NewLesson(title="left_over.txt")])
    await educator.published(title="snake_case", description="Of my_file.txt.", language="en", modules=[chain])
    await educator.write(title="Baking drafts", language="en")
    return education.anyone()


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("bread", ["Baking breads"]),
        ("BAKED", ["Baking breads", "Rye"]),
        ("rye", ["Rye", "Baking breads"]),
        ("rye baking", ["Rye", "Baking breads"]),
        ('"rye and wheat"', ["Baking breads"]),
        ("rye -wheat", ["Rye"]),
        ("wheat or brot", ["Brote backen", "Baking breads"]),
        ("fermentation", ["Baking breads"]),
        ("kneaded", ["Baking breads"]),
        ("haus", ["Brote backen"]),
        ("ofen", ["Brote backen"]),
        ("breads", ["パンを焼く", "Baking breads"]),
        ("run", []),
        ("drafts", []),
        ("honey", []),
        ("secret", []),
        ("the", []),
        ("'); DROP TABLE courses; --", []),
        ("& | ! ( ) : * <->", []),
        ("\N{ZERO WIDTH SPACE}", []),
        ("snake_case", ["snake_case"]),
        ("case_snake", []),
        ("snake -case_snake", ["snake_case"]),
        ("file.txt", ["snake_case"]),
        ("over.txt left", ["snake_case"]),
    ],
)
async def test_words_are_found_in_the_language_of_each_course(reader: Person, query: str, titles: list[str]) -> None:
    """In titles before descriptions, in no lesson's content, and in no draft; twice, the second time from memory."""
    for _ in range(2):
        assert sorted(await found(reader, query)) == sorted(titles)
    if query == "rye":
        assert await found(reader, query) == titles


async def test_search_is_filtered_as_lists_are(reader: Person) -> None:
    assert await found(reader, "baking", language="en-gb") == ["Rye"]
    assert await found(reader, "baking", max_price=azr(0)) == ["Baking breads"]
    assert await found(reader, "baking", min_price=azr(1), max_price=azr(49_00)) == ["Rye"]
    assert await found(reader, "breads", language="ja") == ["パンを焼く"]
    for fields in ({"max_price": azr(-1)}, {"language": "e n"}, {"page_size": -1}):
        assert (await refusal(search(reader, "baking", **fields))).reason == "VALIDATION_FAILED"
    assert (await refusal(search(reader, "baking", enrollment_state=2))).reason == "TOKEN_MISSING"


async def test_a_query_has_a_length(reader: Person) -> None:
    for query in ("", "x" * 201):
        refused = await refusal(search(reader, query))
        assert (refused.reason, refused.fields) == ("VALIDATION_FAILED", ("query",))
    for query in ("-" * 200, "- (" * 66, '-"' * 100, "or " * 66, "(" * 200):
        assert await found(reader, query) == []
    assert (await refusal(search(reader, "a\0b"))).code == "INVALID_ARGUMENT"


async def test_results_are_paged_through_once_each(education: RunningEducation) -> None:
    """Of equal rank, too: the newest first."""
    await education.sql(MANY, 25)
    await education.sql(PUBLISH)
    reader = education.anyone()
    everything = [course.id for course in (await search(reader, "words", page_size=100)).courses]
    assert everything == sorted(everything, reverse=True)
    paged, token = list[str](), ""
    for size in (7, 10, 100):
        page = await search(reader, "words", page_size=size, page_token=token)
        paged += [course.id for course in page.courses]
        token = page.next_page_token
    assert (paged, token) == (everything, "")
    first = (await search(reader, "words", page_size=1)).next_page_token
    for asked in (search(reader, "word", page_token=first), search(reader, "words", page_token=first, language="en")):
        assert (await refusal(asked)).reason == "PAGE_TOKEN_INVALID"
    assert (await refusal(reader.list(page_token=first))).reason == "PAGE_TOKEN_INVALID"


async def test_the_newest_of_many_matches_are_ranked(
    education: RunningEducation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MAX_RANKED", 5)
    store.search_statement.cache_clear()
    try:
        await education.sql(MANY, 20)
        await education.sql(PUBLISH)
        ranked = [course.id for course in (await search(education.anyone(), "word", page_size=100)).courses]
    finally:
        store.search_statement.cache_clear()
    ids = [str(row["course_id"]) for row in await education.sql("SELECT course_id FROM catalogue_entries")]
    assert ranked == sorted(ids, reverse=True)[:5]


@pytest.mark.parametrize(("query", "most"), [("rare", 60), ("words", 6000), ("nowhere", 1)])
async def test_a_search_reads_what_matches(education: RunningEducation, query: str, most: int) -> None:
    """From the index: the documents of courses that do not match are not read."""
    await education.sql(MANY, 6000)
    await education.sql(PUBLISH)
    values = {"query": query, "count": 21, "after_rank": store.FIRST_RANK, "after_id": ID_MAX}
    plan = await explain(education.owner_url, store.search_statement(frozenset()), values)
    assert plan.rows_read <= most


async def test_every_configuration_that_a_language_selects_exists(education: RunningEducation) -> None:
    tags = [first + second for first in "abcdefghijklmnopqrstuvwxyz" for second in "abcdefghijklmnopqrstuvwxyz"]
    rows = await education.sql("SELECT tag, search_configuration(tag)::regconfig FROM unnest($1::text[]) AS tag", tags)
    chosen = {row["tag"]: row["search_configuration"] for row in rows}
    assert (chosen["en"], chosen["de"], chosen["ja"]) == ("english", "german", "simple")
    known = {row["cfgname"] for row in await education.sql("SELECT cfgname FROM pg_ts_config")}
    assert set(chosen.values()) <= known
    assert (await education.sql("SELECT search_configuration('PT-br')"))[0][0] == "portuguese"
    assert known - set(chosen.values()) <= {"estonian"}
