"""Course operations: authoring, publication and retrieval."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from services.education.courses.model import MAX_BYTES, MAX_LESSONS, CourseState, ReadCourse
from services.education.errors import (
    CompletionRewardNotAllowed,
    CourseArchived,
    CourseEmpty,
    CourseNotFound,
    CourseTooLarge,
    EtagMismatch,
    OtherEducatorNotAllowed,
)
from services.shared.encoded import Encoded
from services.shared.errors import TokenMissing
from services.shared.ids import new_id
from services.shared.money import check_currency

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.drafts import DraftStore
    from services.education.courses.model import Course, CourseContent, NewCourse, Reader
    from services.education.courses.store import CourseStore
    from services.education.people.model import UserRenamed
    from services.education.people.store import PeopleStore
    from services.shared.cache import EncodedAnswers
    from services.shared.db import Database
    from services.shared.idempotency import Message
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal

MANAGE = "PERMISSION_COURSES_MANAGE"
WRITE = "PERMISSION_COURSES_WRITE"
MAX_STALE_SECONDS = 1.0
"""Maximum age of what readers who cannot write courses are shown."""

Shown = TypeVar("Shown")
Response = TypeVar("Response", bound="Message")


class Readers(Protocol):
    """Knows who is enrolled in which revision."""

    async def find_reader(self, connection: AsyncConnection, *, user_id: str, course_id: str) -> Reader:
        """Return what the user is to the course, and the catalogue's generation, in one statement."""
        ...


class CourseOperations:
    """Course creation, publication and retrieval.

    What everyone is shown alike is answered from memory, encoded. Whoever may write courses reads the database, and so
    sees every change at once; all others see it after a second at most.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: CourseStore,
        drafts: DraftStore,
        people: PeopleStore,
        readers: Readers,
        pages: PageTokens,
        answers: EncodedAnswers,
        encoded_bytes: Callable[[ReadCourse], int],
    ) -> None:
        self._database = database
        self._store = store
        self._drafts = drafts
        self._people = people
        self._readers = readers
        self._pages = pages
        self._answers = answers
        self._encoded_bytes = encoded_bytes
        self._checked_at = float("-inf")

    async def list_courses(
        self,
        *,
        principal: Principal,
        page_size: int,
        page_token: str,
        mine: bool,
        encode: Callable[[Page[Course]], Response],
    ) -> Response:
        """Return a page of published courses, or of the caller's own in every state, newest first.

        Raises TokenMissing, PageTokenInvalid.
        """
        if mine and not principal.signed_in:
            raise TokenMissing
        educator_id = principal.user_id if mine else None
        bound_to = {"method": "ListCourses", "educator": educator_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)

        async def load(connection: AsyncConnection) -> Page[Course]:
            found = await self._store.list_courses(connection, request, educator_id)
            return request.page(found, lambda course: [course.id])

        if mine or principal.may(WRITE):
            return await self._read(load, encode)
        after = request.cursor[0] if request.cursor else None
        await self._refresh()
        return await self._answer(("page", request.size, after), load, encode)

    async def get_course(
        self,
        *,
        principal: Principal,
        course_id: str,
        revision: int,
        draft: bool,
        encode: Callable[[ReadCourse], Response],
    ) -> Response:
        """Return one revision of the course: `revision`, or if 0 the one the caller is enrolled in, or the latest.

        With `draft` return the draft, to those who edit it. Raises CourseNotFound.
        """
        if draft:
            return await self._read(lambda connection: self._drafted(connection, principal, course_id), encode)
        enrolled_revision: int | None = None
        if principal.signed_in:
            async with self._database.reading() as connection:
                reader = await self._readers.find_reader(connection, user_id=principal.user_id, course_id=course_id)
            self._answers.advance(reader.generation)
            enrolled_revision = reader.enrolled_revision
        else:
            await self._refresh()
        shown = revision or enrolled_revision
        enrolled = enrolled_revision is not None and shown == enrolled_revision

        async def load(connection: AsyncConnection) -> ReadCourse:
            course, content = await self._found(connection, course_id, shown)
            if not may_see(principal, course):
                raise CourseNotFound
            return ReadCourse(course, content, lessons_are_open=enrolled or may_edit(principal, course))

        if principal.may(WRITE):
            return await self._read(load, encode)
        # All who are alike in what the key names get the same answer: nobody here may edit.
        return await self._answer((course_id, shown, enrolled), load, encode)

    async def create_course(self, *, principal: Principal, new: NewCourse) -> ReadCourse:
        """Create a draft.

        Raises CompletionRewardNotAllowed, OtherEducatorNotAllowed, CurrencyUnknown, CourseTooLarge.
        """
        check_currency(new.price.currency)
        educator_id = new.educator_id or principal.user_id
        if not principal.may(MANAGE):
            if new.completion_reward.amount_minor:
                raise CompletionRewardNotAllowed
            if educator_id != principal.user_id:
                raise OtherEducatorNotAllowed

        async def work(connection: AsyncConnection) -> ReadCourse:
            course_id = new_id()
            await self._drafts.insert_course(connection, course_id, educator_id, new)
            saved = await self._drafted(connection, principal, course_id)
            self._check_size(saved)
            return saved

        return await self._database.transaction(work)

    async def publish_course(self, *, principal: Principal, course_id: str, etag: str) -> ReadCourse:
        """Make the draft the latest revision, unless it is that already.

        Raises CourseNotFound, CourseArchived, CourseEmpty, EtagMismatch.
        """

        async def work(connection: AsyncConnection) -> tuple[ReadCourse, int]:
            locked = await self._store.lock_draft(connection, course_id)
            if locked is None or not may_edit(principal, locked[0]):
                raise CourseNotFound
            draft, content = locked
            if not draft.is_meant_by(etag):
                raise EtagMismatch
            if draft.state is CourseState.ARCHIVED:
                raise CourseArchived
            if draft.changed:
                if not content.required_lesson_ids:
                    raise CourseEmpty
                await self._drafts.insert_revision(connection, draft, content)
            published = await self._reread(connection, course_id)
            # Last, so that others who change a course wait as little as can be.
            return published, await self._store.update_generation(connection)

        published, generation = await self._database.transaction(work)
        self._answers.advance(generation)
        return published

    async def user_renamed(self, connection: AsyncConnection, event: UserRenamed) -> None:
        """Keep a person's name, and have the courses that they own shown with it."""
        if await self._people.update_name(connection, event) and await self._store.is_educator(
            connection, event.user_id
        ):
            await self._store.update_generation(connection)

    async def _read(
        self, load: Callable[[AsyncConnection], Awaitable[Shown]], encode: Callable[[Shown], Response]
    ) -> Response:
        """Load and encode an answer."""
        async with self._database.reading() as connection:
            return encode(await load(connection))

    async def _answer(
        self,
        key: Hashable,
        load: Callable[[AsyncConnection], Awaitable[Shown]],
        encode: Callable[[Shown], Response],
    ) -> Response:
        """Return the answer kept under `key`, or load, encode and keep it."""
        answer = self._answers.find(key)
        if answer is None:
            generation = self._answers.generation
            answer = (await self._read(load, encode)).SerializeToString()
            self._answers.keep(key, answer, generation=generation)
        return Encoded[Response](answer).as_response()

    async def _refresh(self) -> None:
        """Drop what is kept if a course has changed since, asking the database once a second at most."""
        now = time.monotonic()
        if now - self._checked_at > MAX_STALE_SECONDS:
            async with self._database.reading() as connection:
                self._answers.advance(await self._store.find_generation(connection))
            self._checked_at = max(self._checked_at, now)

    async def _drafted(self, connection: AsyncConnection, principal: Principal, course_id: str) -> ReadCourse:
        found = await self._store.find_draft(connection, course_id)
        if found is None or not may_edit(principal, found[0]):
            raise CourseNotFound
        return ReadCourse(*found, lessons_are_open=True, questions_are_open=True)

    def _check_size(self, saved: ReadCourse) -> None:
        lessons, size_bytes = len(saved.content.lessons), self._encoded_bytes(saved)
        if lessons > MAX_LESSONS or size_bytes > MAX_BYTES:
            raise CourseTooLarge(lessons=lessons, size_bytes=size_bytes)

    async def _reread(self, connection: AsyncConnection, course_id: str) -> ReadCourse:
        course, content = await self._found(connection, course_id, None)
        return ReadCourse(course, content, lessons_are_open=True)

    async def _found(
        self, connection: AsyncConnection, course_id: str, revision: int | None
    ) -> tuple[Course, CourseContent]:
        """Return the course and its modules as a revision has them; as the latest has them, or the draft, if None."""
        found = await self._store.find_course_with_content(connection, course_id, revision)
        if found is None:
            raise CourseNotFound
        return found


def may_edit(principal: Principal, course: Course) -> bool:
    """Whether the caller is an educator and the course theirs, or manages everyone's."""
    return principal.may(MANAGE) or (principal.may(WRITE) and principal.user_id == course.educator_id)


def may_see(principal: Principal, course: Course) -> bool:
    """Whether the course exists for the caller: drafts do only for those who edit them."""
    return course.state is not CourseState.DRAFT or may_edit(principal, course)
