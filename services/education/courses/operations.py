"""Course operations: retrieval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from services.education.courses.model import CourseContent, CourseState, ReadCourse
from services.education.errors import CourseNotFound
from services.education.people.model import ERASED_VERSION, UserRenamed
from services.shared.encoded import Encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.model import Course, CourseFilter, CourseOrder, Lock, Reader
    from services.education.courses.store import CourseStore
    from services.education.people.store import PeopleStore
    from services.shared.cache import CachedReads, ImmutableParts
    from services.shared.db import Database
    from services.shared.idempotency import Message
    from services.shared.pagination import Page
    from services.shared.principal import Principal

    Draft = tuple[Course, CourseContent]

MANAGE = "PERMISSION_COURSES_MANAGE"
WRITE = "PERMISSION_COURSES_WRITE"

Response = TypeVar("Response", bound="Message")


class Readers(Protocol):
    """Knows who is enrolled in which revision."""

    async def find_reader(self, connection: AsyncConnection, *, user_id: str, course_id: str) -> Reader:
        """Return what the user is to the course, and the catalogue's generation, in one statement."""
        ...


class Catalogue(Protocol):
    """Finds courses."""

    async def list_courses(
        self,
        *,
        principal: Principal,
        page_size: int,
        page_token: str,
        wanted: CourseFilter,
        order: CourseOrder,
        mine: bool,
        encode: Callable[[Page[Course]], Response],
    ) -> Response:
        """Return a page of published courses, or of the caller's own in every state."""
        ...

    async def search_courses(
        self,
        *,
        principal: Principal,
        page_size: int,
        page_token: str,
        query: str,
        wanted: CourseFilter,
        encode: Callable[[Page[Course]], Response],
    ) -> Response:
        """Return a page of the published courses that match a query, best first."""
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
        reads: CachedReads,
        modules: ImmutableParts,
        encoded_modules: Callable[[ReadCourse], bytes],
    ) -> None:
        self._database = database
        self._store = store
        self._people = people
        self._readers = readers
        self._reads = reads
        self._modules = modules
        self._encoded_modules = encoded_modules

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
            return await self._reads.read(
                lambda connection: self._draft(connection, principal, course_id), lambda read: encode(read, ())
            )
        enrolled_revision: int | None = None
        locks: Sequence[Lock] = ()
        if principal.signed_in:
            async with self._database.reading() as connection:
                reader = await self._readers.find_reader(connection, user_id=principal.user_id, course_id=course_id)
                locks = await self._locks(connection, course_id, reader, revision)
            self._reads.advance(reader.generation)
            enrolled_revision = reader.enrolled_revision
        else:
            await self._reads.refresh()
        shown = revision or enrolled_revision
        enrolled = enrolled_revision is not None and shown == enrolled_revision

        if principal.may(WRITE):

            async def read(connection: AsyncConnection) -> ReadCourse:
                course, content = await self._found(connection, course_id, shown)
                if not may_see(principal, course):
                    raise CourseNotFound
                return ReadCourse(course, content, lessons_are_open=enrolled or may_edit(principal, course))

            return await self._reads.read(read, lambda read: encode(read, locks))

        async def load(connection: AsyncConnection) -> ReadCourse:
            return await self._revision(connection, course_id, shown, enrolled=enrolled)

        # All who are alike in what the key names get the same answer: nobody here may edit.
        answer = await self._reads.encoded((course_id, shown, enrolled), load, lambda read: encode(read, ()))
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

    async def _revision(
        self, connection: AsyncConnection, course_id: str, number: int | None, *, enrolled: bool
    ) -> ReadCourse:
        """Return a revision, or the latest, as those see it who may not edit it. Its modules never change."""
        course = await self._store.find_course(connection, course_id, number)
        if course is None or course.state is CourseState.DRAFT:
            raise CourseNotFound
        if not course.revision:  # Archived before it was published.
            return ReadCourse(*await self._found(connection, course_id, None), lessons_are_open=False)

        async def load() -> bytes:
            content = await self._store.find_content(connection, course.id, course.revision)
            return self._encoded_modules(ReadCourse(course, content, lessons_are_open=enrolled))

        name = f"{course.id}:{course.revision}:{'open' if enrolled else 'closed'}"
        encoded = await self._modules.part(name, load)
        return ReadCourse(course, CourseContent(()), lessons_are_open=enrolled, encoded_modules=encoded)

    async def _draft(self, connection: AsyncConnection, principal: Principal, course_id: str) -> ReadCourse:
        return as_edited(editable(principal, await self._store.find_draft(connection, course_id)))

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


def editable(principal: Principal, found: Draft | None) -> Draft:
    """Return a course that was found, if the caller may edit it. Raises CourseNotFound."""
    if found is None or not may_edit(principal, found[0]):
        raise CourseNotFound
    return found


def as_edited(draft: Draft) -> ReadCourse:
    """Return a course as its editors get it: lessons, questions and right answers."""
    return ReadCourse(*draft, lessons_are_open=True, questions_are_open=True)


def may_see(principal: Principal, course: Course) -> bool:
    """Whether the course exists for the caller: drafts do only for those who edit them."""
    return course.state is not CourseState.DRAFT or may_edit(principal, course)
