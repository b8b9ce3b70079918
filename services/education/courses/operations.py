"""Writing, publishing and reading courses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.education.courses.model import CourseState, ReadCourse
from services.education.errors import (
    CompletionRewardNotAllowed,
    CourseArchived,
    CourseEmpty,
    CourseNotFound,
    EtagMismatch,
    OtherEducatorNotAllowed,
)
from services.shared.errors import TokenMissing
from services.shared.ids import new_id
from services.shared.money import check_currency

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course, NewCourse
    from services.education.courses.store import CourseStore
    from services.shared.db import Database
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal

MANAGE = "PERMISSION_COURSES_MANAGE"


class CourseOperations:
    """What can be done with courses."""

    def __init__(self, database: Database, store: CourseStore, pages: PageTokens) -> None:
        self._database = database
        self._store = store
        self._pages = pages

    async def list_courses(self, *, principal: Principal, page_size: int, page_token: str, mine: bool) -> Page[Course]:
        """Return a page of published courses, or of the caller's own in every state.

        Raises TokenMissing, PageTokenInvalid.
        """
        if mine and not principal.signed_in:
            raise TokenMissing
        bound_to = {"method": "ListCourses", "educator": principal.user_id if mine else None}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            found = await self._store.list_courses(connection, request, principal.user_id if mine else None)
        return request.page(found, lambda course: [course.id])

    async def get(self, *, principal: Principal, course_id: str) -> ReadCourse:
        """Return the course as the caller may see it. Raises CourseNotFound."""
        async with self._database.reading() as connection:
            found = await self._store.find_for(connection, course_id, principal.user_id or None)
            if found is None or not may_see(principal, found[0]):
                raise CourseNotFound
            course, enrolled = found
            return await self._read(connection, course, lessons_are_open=enrolled or may_edit(principal, course))

    async def create(self, *, principal: Principal, new: NewCourse) -> ReadCourse:
        """Write a draft. Raises CompletionRewardNotAllowed, OtherEducatorNotAllowed, CurrencyUnknown."""
        check_currency(new.price.currency)
        educator_id = new.educator_id or principal.user_id
        if not principal.may(MANAGE):
            if new.completion_reward.amount_minor:
                raise CompletionRewardNotAllowed
            if educator_id != principal.user_id:
                raise OtherEducatorNotAllowed

        async def work(connection: AsyncConnection) -> ReadCourse:
            course_id = new_id()
            await self._store.create(connection, course_id, educator_id, new)
            return await self._reread(connection, course_id)

        return await self._database.transaction(work)

    async def publish(self, *, principal: Principal, course_id: str, etag: str) -> ReadCourse:
        """Make the draft the newest revision, unless it is that already.

        Raises CourseNotFound, CourseArchived, CourseEmpty, EtagMismatch.
        """

        async def work(connection: AsyncConnection) -> ReadCourse:
            draft = await self._store.lock_draft(connection, course_id)
            if draft is None or not may_edit(principal, draft):
                raise CourseNotFound
            if not draft.is_meant_by(etag):
                raise EtagMismatch
            if draft.state is CourseState.ARCHIVED:
                raise CourseArchived
            if draft.changed:
                content = await self._store.draft_content(connection, course_id)
                if not content.required_lesson_ids:
                    raise CourseEmpty
                await self._store.publish(connection, draft, content)
            return await self._reread(connection, course_id)

        return await self._database.transaction(work)

    async def _reread(self, connection: AsyncConnection, course_id: str) -> ReadCourse:
        course = await self._store.find(connection, course_id)
        if course is None:
            raise CourseNotFound
        return await self._read(connection, course, lessons_are_open=True)

    async def _read(self, connection: AsyncConnection, course: Course, *, lessons_are_open: bool) -> ReadCourse:
        content = (
            await self._store.content(connection, course.id, course.revision)
            if course.revision
            else await self._store.draft_content(connection, course.id)
        )
        return ReadCourse(course, content, lessons_are_open)


def may_edit(principal: Principal, course: Course) -> bool:
    """Whether the caller is the course's educator or manages everyone's."""
    return principal.may(MANAGE) or (principal.signed_in and principal.user_id == course.educator_id)


def may_see(principal: Principal, course: Course) -> bool:
    """Whether the course exists for the caller: drafts do only for those who edit them."""
    return course.state is not CourseState.DRAFT or may_edit(principal, course)
