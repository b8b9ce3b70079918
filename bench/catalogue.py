"""A large catalogue: filtered pages from memory, and search beside a page that is read from the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.client import Request
from bench.compare import Comparison, Subject, Target
from bench.statistics import median_of, throughput_ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.compare import Rounds
    from bench.statistics import Round
    from bench.system import People, System

MANY = 1_000
"""Courses from which search is measured."""
RARE_EVERY = 100
PAGE, FILTERED, UNCACHED = "catalogue page", "filtered page", "page, uncached"
RARE, COMMON = "search, a word in 1 %", "search, a word in all"
MAX_COMMON_MS = 50
FILL = """
WITH model AS (
    SELECT r.*, c.educator_id FROM courses c JOIN course_revisions r ON r.course_id = c.id AND r.number = c.revision
    ORDER BY c.id LIMIT 1
), made AS (
    INSERT INTO courses (id, educator_id, state, title, description, price_minor, price_currency, reward_minor,
                         lesson_count, revision, version, published_version, publish_time, language)
    SELECT uuidv7(), educator_id, 'DRAFT', title || ', part ' || n,
           description || CASE WHEN n % $2 = 0 THEN ' everywhere seldom' ELSE ' everywhere' END,
           price_minor, price_currency, reward_minor, lesson_count, 1, 2, 2, now(), 'en'
    FROM model, generate_series(1, $1::integer) AS n
    RETURNING *
)
INSERT INTO course_revisions (course_id, number, title, description, price_minor, price_currency, reward_minor,
                              lesson_count, modules, language)
SELECT made.id, 1, made.title, made.description, made.price_minor, made.price_currency, made.reward_minor,
       made.lesson_count, model.modules, made.language
FROM made, model
"""
PUBLISH = "UPDATE courses SET state = 'PUBLISHED' WHERE state = 'DRAFT' AND revision = 1"
CHANGED = "UPDATE catalogue SET generation = generation + 1"


async def fill(system: System, count: int) -> None:
    """Publish `count` more courses, each like the first one that was seeded."""
    async with system.connection("education") as connection:
        await connection.execute(FILL, count, RARE_EVERY, timeout=600)
        for statement in (PUBLISH, CHANGED, "VACUUM ANALYZE"):
            await connection.execute(statement, timeout=600)


def filtered(system: System) -> Comparison:
    """Return pages from memory: with a filter, and without."""
    edge, behind = system.edge, system.behind_edge("education")
    return Comparison(
        "filtered page, JSON",
        (
            Subject(PAGE, Request(edge, "/v1/courses"), behind),
            Subject(FILTERED, Request(edge, "/v1/courses?language=en&orderBy=price"), behind),
        ),
        (
            Target(
                "filtered page: over catalogue page",
                lambda rounds: throughput_ratio(rounds[FILTERED], rounds[PAGE]),
                0.8,
                0.9,
            ),
        ),
    )


def search(system: System, people: People) -> Comparison:
    """Return searches and a page, as an administrator gets them: from the database. Meant for one caller."""
    behind = system.behind_edge("education")
    paths = {
        UNCACHED: "/v1/courses",
        RARE: "/v1/courses:search?query=seldom",
        COMMON: "/v1/courses:search?query=everywhere",
    }
    return Comparison(
        "search, JSON, 1 caller",
        tuple(Subject(name, Request(system.edge, path, people.admin), behind) for name, path in paths.items()),
        (
            Target("page uncached: p50 over that of a word in 1 %", _page_over_rare, 1 / 3, 1 / 2),
            Target(
                "search, a word in all: p50",
                lambda rounds: _p50(rounds[COMMON]),
                MAX_COMMON_MS,
                MAX_COMMON_MS / 2,
                unit="ms",
            ),
        ),
    )


def _page_over_rare(rounds: Rounds) -> float:
    return _p50(rounds[UNCACHED]) / _p50(rounds[RARE])


def _p50(rounds: Sequence[Round]) -> float:
    return median_of(rounds, lambda each: each.percentile_ms(50))
