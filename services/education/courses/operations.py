"""Course operations: retrieval."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from services.education.courses.model import CourseState, ReadCourse
from services.education.errors import CourseNotFound
from services.education.people.model import ERASED_VERSION, UserRenamed
from services.shared.encoded import Encoded
from services.shared.errors import TokenMissing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course, CourseContent, Lock, Reader
    from services.education.courses.store import CourseStore
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
    """Course retrieval.

    What everyone is shown alike is answered from memory, encoded. Whoever may write courses reads the database, and so
    sees every change at once; all others see it after a second at most.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: CourseStore,
        people: PeopleStore,
        readers: Readers,
        pages: PageTokens,
        answers: EncodedAnswers,
    ) -> None:
        self._database = database
        self._store = store
        self._people = people
        self._readers = readers
        self._pages = pages
        self._answers = answers
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
        encode: Callable[[ReadCourse | None, Sequence[Lock]], Response],
    ) -> Response:
        """Return one revision of the course: `revision`, or if 0 the one the caller is enrolled in, or the latest.

        With `draft` return the draft, to those who edit it. What locks the course for the caller is encoded by itself
        and appended: a message may come in parts. Raises CourseNotFound.
        """
        if draft:
            return await self._read(
                lambda connection: self._drafted(connection, principal, course_id), lambda read: encode(read, ())
            )
        enrolled_revision: int | None = None
        locks: Sequence[Lock] = ()
        if principal.signed_in:
            async with self._database.reading() as connection:
                reader = await self._readers.find_reader(connection, user_id=principal.user_id, course_id=course_id)
                locks = await self._locks(connection, course_id, reader, revision)
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
            return await self._read(load, lambda read: encode(read, locks))
        # All who are alike in what the key names get the same answer: nobody here may edit.
        answer = await self._encoded((course_id, shown, enrolled), load, lambda read: encode(read, ()))
        own = encode(None, locks).SerializeToString() if locks else b""
        return Encoded[Response](answer + own).as_response()

    async def user_renamed(self, connection: AsyncConnection, event: UserRenamed) -> None:
        """Keep a person's name, and have the courses that they own shown with it."""
        if await self._people.update_name(connection, event) and await self._store.is_educator(
            connection, event.user_id
        ):
            await self._store.update_generation(connection)

    async def export_person(self, connection: AsyncConnection, *, user_id: str) -> Mapping[str, Any]:
        """Return the name and the authored courses of a person, with their content as it stands."""
        name = await self._people.find_name(connection, user_id)
        return {"name": name, **await self._store.export_person(connection, user_id=user_id)}

    async def erase_person(self, connection: AsyncConnection, *, user_id: str) -> int:
        """Erase a person's name. The courses that they own stay, and are shown without it."""
        forgotten = await self._people.update_name(connection, UserRenamed(user_id, "", ERASED_VERSION))
        if forgotten and await self._store.is_educator(connection, user_id):
            await self._store.update_generation(connection)
        return int(forgotten)

    async def _read(
        self, load: Callable[[AsyncConnection], Awaitable[Shown]], encode: Callable[[Shown], Response]
    ) -> Response:
        """Load and encode an answer."""
        async with self._database.reading() as connection:
            return encode(await load(connection))

    async def _locks(
        self, connection: AsyncConnection, course_id: str, reader: Reader, revision: int
    ) -> Sequence[Lock]:
        """Return what locks the course for the reader, or the modules of the revision that they are enrolled in."""
        if reader.enrolled_revision is None:
            return reader.locks
        if revision not in (0, reader.enrolled_revision):
            return ()
        content = await self._store.find_content(connection, course_id, reader.enrolled_revision)
        return content.locks(reader.completed_lesson_ids)

    async def _answer(
        self,
        key: Hashable,
        load: Callable[[AsyncConnection], Awaitable[Shown]],
        encode: Callable[[Shown], Response],
    ) -> Response:
        """Return the answer kept under `key`, or load, encode and keep it."""
        return Encoded[Response](await self._encoded(key, load, encode)).as_response()

    async def _encoded(
        self,
        key: Hashable,
        load: Callable[[AsyncConnection], Awaitable[Shown]],
        encode: Callable[[Shown], Response],
    ) -> bytes:
        answer = self._answers.find(key)
        if answer is None:
            generation = self._answers.generation
            answer = (await self._read(load, encode)).SerializeToString()
            self._answers.keep(key, answer, generation=generation)
        return answer

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
