"""The names of educators, as Auth tells them, in courses and the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from azora.auth.v1 import events_pb2

from services.shared.ids import new_id
from tests.support.education import event
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from azora.client import Metadata

    from tests.support.education import RunningEducation

pytestmark = pytest.mark.shared

AUTH: Metadata = (("x-forwarded-client-cert", "URI=spiffe://azora.local/ns/default/sa/auth"),)


async def rename(education: RunningEducation, user_id: str, name: str, version: int) -> list[str]:
    """Tell of a name as Auth does; return the reasons of refusals."""
    message = events_pb2.UserRenamed(user_id=user_id, name=name, version=version)
    results = await education.receive(event(message), metadata=AUTH)
    return [result.refusal.reason for result in results]


async def test_courses_show_the_name_that_auth_told_before_or_after(education: RunningEducation) -> None:
    educator, anyone = education.educator(), education.anyone()
    draft = await educator.write()
    assert draft.educator_name == ""
    assert await rename(education, educator.id, "Edu Mentor", 1) == [""]
    assert (await educator.read(draft.id)).educator_name == "Edu Mentor"
    published = await educator.publish(draft.id)
    assert published.educator_name == "Edu Mentor"
    assert (await anyone.read(draft.id)).educator_name == "Edu Mentor"
    assert [course.educator_name for course in (await anyone.list()).courses] == ["Edu Mentor"]
    assert [course.educator_name for course in (await educator.list(mine=True)).courses] == ["Edu Mentor"]
    learner = education.person()
    await learner.enroll(draft.id)
    assert (await learner.read(draft.id)).educator_name == "Edu Mentor"
    assert (await learner.read(draft.id, revision=1)).educator_name == "Edu Mentor"


@pytest.mark.own
async def test_what_is_answered_from_memory_shows_a_new_name_within_a_second_or_so(education: RunningEducation) -> None:
    educator, anyone = education.educator(), education.anyone()
    await rename(education, educator.id, "Edu Mentor", 1)
    course = await educator.published()
    assert (await anyone.read(course.id)).educator_name == "Edu Mentor"
    assert [found.educator_name for found in (await anyone.list()).courses] == ["Edu Mentor"]
    await rename(education, educator.id, "Edwina Mentor", 2)

    async def shown() -> bool:
        listed = [found.educator_name for found in (await anyone.list()).courses]
        return listed == ["Edwina Mentor"] == [(await anyone.read(course.id)).educator_name]

    await eventually(shown, within_seconds=5)
    assert (await anyone.read(course.id)).etag == course.etag, "the course itself has not changed"


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 3, 2)])
async def test_in_whatever_order_names_arrive_the_newest_stays(
    education: RunningEducation, order: tuple[int, ...]
) -> None:
    educator = education.educator()
    course = await educator.write()
    for version in order:
        assert await rename(education, educator.id, f"Name {version}", version) == [""]
    assert (await educator.read(course.id)).educator_name == "Name 3"


async def test_the_name_of_someone_without_courses_changes_nothing_that_is_remembered(
    education: RunningEducation,
) -> None:
    before = await education.sql("SELECT generation FROM catalogue")
    assert await rename(education, new_id(), "Sam Student", 1) == [""]
    assert await education.sql("SELECT generation FROM catalogue") == before


@pytest.mark.parametrize(("name", "version"), [("", 1), ("x" * 101, 1), ("Edu", 0)])
async def test_a_name_that_breaks_the_contract_is_refused_for_good(
    education: RunningEducation, name: str, version: int
) -> None:
    assert await rename(education, new_id(), name, version) == ["EVENT_INVALID"]
