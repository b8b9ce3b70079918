"""The catalogue: filters, orders, and pages of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from azora.education.v1 import enrollment_pb2
from azora.type.v1 import money_pb2

from tests.support.education import azr
from tests.support.learning import search
from tests.support.refusals import refusal

if TYPE_CHECKING:
    from tests.support.education import Person, RunningEducation

ACTIVE = enrollment_pb2.ENROLLMENT_STATE_ACTIVE
COMPLETED = enrollment_pb2.ENROLLMENT_STATE_COMPLETED


async def titles(reader: Person, **asked: Any) -> list[str]:
    """Return the titles of a page."""
    return [course.title for course in (await reader.list(**asked)).courses]


async def written(education: RunningEducation) -> None:
    """Publish courses of some languages and prices."""
    educator = education.educator()
    for title, language, price in (
        ("beta", "en", azr(0)),
        ("Alpha", "en-GB", azr(49_00)),
        ("gamma", "eng", azr(49_00)),
        ("delta", "de", azr(99_00)),
        ("epsilon", "", money_pb2.Money(minor_units=100, currency="ZAR")),
    ):
        await educator.published(title=title, language=language, price=price)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["epsilon", "delta", "gamma", "Alpha", "beta"]),
        ({"language": "en"}, ["Alpha", "beta"]),
        ({"language": "EN-gb"}, ["Alpha"]),
        ({"language": "en-G"}, []),
        ({"language": "fr"}, []),
        ({"max_price": azr(0)}, ["beta"]),
        ({"max_price": azr(49_00)}, ["gamma", "Alpha", "beta"]),
        ({"min_price": azr(1)}, ["delta", "gamma", "Alpha"]),
        ({"min_price": azr(0)}, ["delta", "gamma", "Alpha", "beta"]),
        ({"min_price": azr(50_00), "max_price": azr(100_00), "language": "de"}, ["delta"]),
        ({"max_price": money_pb2.Money(minor_units=100, currency="ZAR")}, ["epsilon", "beta"]),
        ({"order_by": "create_time desc"}, ["epsilon", "delta", "gamma", "Alpha", "beta"]),
        ({"order_by": "title"}, ["Alpha", "beta", "delta", "epsilon", "gamma"]),
        ({"order_by": "price"}, ["beta", "Alpha", "gamma", "delta", "epsilon"]),
        ({"order_by": "price desc"}, ["epsilon", "delta", "gamma", "Alpha", "beta"]),
        ({"order_by": "price", "language": "en"}, ["beta", "Alpha"]),
    ],
    ids=str,
)
async def test_the_catalogue_is_filtered_and_ordered(
    education: RunningEducation, asked: dict[str, Any], found: list[str]
) -> None:
    """For those who are answered from memory and those who are not, in one page and in many."""
    await written(education)
    for reader in (education.anyone(), education.educator(), education.anyone()):
        assert await titles(reader, **asked) == found
        paged, token = list[str](), ""
        while not paged or token:
            page = await reader.list(page_size=1, page_token=token, **asked)
            paged += [course.title for course in page.courses]
            token = page.next_page_token
            if not page.courses:
                break
        assert paged == found


async def test_the_catalogue_shows_the_state_of_ones_own_enrolment(education: RunningEducation) -> None:
    educator, learner = education.educator(), education.person()
    free, done, _ = [await educator.published(title=title) for title in ("free", "done", "other")]
    await learner.enroll(free.id)
    enrollment = await learner.enroll(done.id)
    for lesson in (lesson for module in done.modules for lesson in module.lessons):
        await learner.complete(enrollment.id, lesson.id)
    assert await titles(learner, enrollment_state=ACTIVE) == ["free"]
    assert await titles(learner, enrollment_state=COMPLETED, order_by="title") == ["done"]
    assert await titles(education.person(), enrollment_state=ACTIVE) == []
    assert [course.title for course in (await search(learner, "free", enrollment_state=ACTIVE)).courses] == ["free"]
    assert (await refusal(education.anyone().list(enrollment_state=ACTIVE))).reason == "TOKEN_MISSING"
    token = (await learner.list(page_size=1)).next_page_token
    assert (await refusal(learner.list(page_token=token, enrollment_state=ACTIVE))).reason == "PAGE_TOKEN_INVALID"


async def test_a_page_of_ones_own_enrolments_is_ones_own(education: RunningEducation) -> None:
    educator, learner, other = education.educator(), education.person(), education.person()
    for _ in range(2):
        course = await educator.published()
        await learner.enroll(course.id)
        await other.enroll(course.id)
    token = (await learner.list(page_size=1, enrollment_state=ACTIVE)).next_page_token
    assert len((await learner.list(page_token=token, enrollment_state=ACTIVE)).courses) == 1
    refused = await refusal(other.list(page_token=token, enrollment_state=ACTIVE))
    assert refused.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"order_by": "price asc"}, "VALIDATION_FAILED"),
        ({"language": "en_GB"}, "VALIDATION_FAILED"),
        ({"language": "x" * 36}, "VALIDATION_FAILED"),
        ({"min_price": azr(-1)}, "VALIDATION_FAILED"),
        ({"min_price": azr(1), "max_price": money_pb2.Money(minor_units=1, currency="ZAR")}, "VALIDATION_FAILED"),
        ({"max_price": money_pb2.Money(minor_units=1, currency="QQQ")}, "CURRENCY_UNKNOWN"),
        ({"enrollment_state": 99}, "VALIDATION_FAILED"),
        ({"mine": True, "order_by": "title"}, "VALIDATION_FAILED"),
        ({"mine": True, "language": "en"}, "VALIDATION_FAILED"),
        ({"mine": True, "max_price": azr(0)}, "VALIDATION_FAILED"),
        ({"page_size": -1}, "VALIDATION_FAILED"),
        ({"page_token": "nonsense"}, "PAGE_TOKEN_INVALID"),
    ],
    ids=str,
)
async def test_filters_that_make_no_sense_are_refused(
    education: RunningEducation, asked: dict[str, Any], reason: str
) -> None:
    refused = await refusal(education.educator().list(**asked))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", reason)


async def test_page_tokens_belong_to_filter_and_order(education: RunningEducation) -> None:
    await written(education)
    reader = education.anyone()
    token = (await reader.list(page_size=1, order_by="price", language="en")).next_page_token
    others: tuple[dict[str, Any], ...] = (
        {"order_by": "price"},
        {"order_by": "price desc", "language": "en"},
        {"language": "en"},
    )
    for asked in others:
        assert (await refusal(reader.list(page_token=token, **asked))).reason == "PAGE_TOKEN_INVALID"
    assert await titles(reader, page_token=token, order_by="price", language="en") == ["Alpha"]


async def test_lists_show_the_published_revision_of_published_courses(education: RunningEducation) -> None:
    """A draft of a new title, or of a new price, is found when it is published."""
    educator, reader = education.educator(), education.admin()
    course = await educator.published(title="zeta", price=azr(10_00), language="en")
    await educator.published(title="eta", price=azr(20_00), language="en")
    changes = (
        "UPDATE courses SET title = 'aleph', price_minor = 9900, language = 'he', version = version + 1 WHERE id = $1"
    )
    await education.sql(changes, course.id)
    assert await titles(reader, order_by="title") == ["eta", "zeta"]
    assert await titles(reader, order_by="price", language="en") == ["zeta", "eta"]
    assert (await search(reader, "aleph")).courses == []
    await educator.publish(course.id)
    assert [found.title for found in (await search(reader, "aleph")).courses] == ["aleph"]
    assert await titles(reader, order_by="title") == ["aleph", "eta"]
    assert await titles(reader, order_by="price desc") == ["aleph", "eta"]
    assert await titles(reader, language="he") == ["aleph"]
    await education.sql("UPDATE courses SET state = 'ARCHIVED' WHERE id = $1", course.id)
    assert await titles(reader) == ["eta"]
    assert (await search(reader, "aleph")).courses == []
    await education.sql("UPDATE courses SET state = 'PUBLISHED' WHERE id = $1", course.id)
    assert await titles(reader) == ["eta", "aleph"]


async def test_titles_of_any_length_can_be_paged_through(education: RunningEducation) -> None:
    educator, reader = education.educator(), education.anyone()
    longest = "\U0001f35e" * 200
    for _ in range(3):
        await educator.published(title=longest)
    token, seen = "", 0
    for _ in range(3):
        page = await reader.list(page_size=1, page_token=token, order_by="title")
        seen += len(page.courses)
        token = page.next_page_token
    assert (seen, token) == (3, "")
