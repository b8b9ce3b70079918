"""Course operations: creation, editing, publication and what follows it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from services.education.courses.model import MAX_BYTES, MAX_ELEMENTS, MAX_LESSONS, MAX_MODULES, CourseState, ReadCourse
from services.education.courses.operations import MANAGE, as_edited, editable, may_edit
from services.education.errors import (
    CompletionRewardNotAllowed,
    CourseArchived,
    CourseEmpty,
    CourseNotFound,
    CourseNotPublished,
    CoursePublished,
    CourseRevisionNotFound,
    CourseTooLarge,
    EtagMismatch,
    OtherEducatorNotAllowed,
    PrerequisiteCycle,
    PrerequisiteNotPublished,
)
from services.shared.audit.model import Action
from services.shared.audit.recording import record
from services.shared.ids import new_id
from services.shared.money import check_currency

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from services.education.courses.drafts import DraftStore
    from services.education.courses.edits import CourseChanges
    from services.education.courses.model import Course, CourseContent, CourseRevision, NewCourse
    from services.education.courses.store import CourseStore
    from services.shared.cache import CachedReads
    from services.shared.db import Database
    from services.shared.pagination import Page, PageTokens
    from services.shared.principal import Principal

    Draft = tuple[Course, CourseContent]

Found = TypeVar("Found")


class AuthoringOperations:
    """Course authoring: for each course's educator, and for who manages everyone's.

    An edit locks the course's row, makes the new draft of the old, and writes it whole. What readers are shown changes
    with publication, state and capacity alone: these move the catalogue's generation.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: CourseStore,
        drafts: DraftStore,
        pages: PageTokens,
        reads: CachedReads,
        encoded_modules: Callable[[ReadCourse], bytes],
        encoded_bytes: Callable[[ReadCourse], int],
    ) -> None:
        self._database = database
        self._store = store
        self._drafts = drafts
        self._pages = pages
        self._reads = reads
        self._encoded_modules = encoded_modules
        self._encoded_bytes = encoded_bytes

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
            course = _existing(await self._store.find_course(connection, course_id))
            return self._checked((course, new.content))

        return await self._database.transaction(work)

    async def import_course(self, *, principal: Principal, new: NewCourse) -> ReadCourse:
        """Create a draft of the caller's from a document. Raises CurrencyUnknown, CourseTooLarge."""
        return await self.create_course(principal=principal, new=new)

    async def export_course(self, *, principal: Principal, course_id: str, revision: int) -> ReadCourse:
        """Return the draft, or a revision if its number is given. Raises CourseNotFound, CourseRevisionNotFound."""
        async with self._database.reading() as connection:
            draft = editable(principal, await self._store.find_draft(connection, course_id))
            shown = await self._revision(connection, course_id, revision) if revision else draft
        return as_edited(shown)

    async def update_course(
        self, *, principal: Principal, course_id: str, etag: str, changes: CourseChanges
    ) -> ReadCourse:
        """Change the draft, and the capacity.

        Raises CourseNotFound, EtagMismatch, CompletionRewardNotAllowed, CurrencyUnknown, CourseTooLarge.
        """
        check_currency(changes.price.currency)

        def change(course: Course, content: CourseContent) -> Draft:
            changed = changes.applied_to(course)
            if changed.completion_reward != course.completion_reward and not principal.may(MANAGE):
                raise CompletionRewardNotAllowed
            return changed, content

        return await self.change_draft(principal=principal, course_id=course_id, etag=etag, change=change)

    async def archive_course(self, *, principal: Principal, course_id: str, etag: str) -> ReadCourse:
        """Close the course to enrolment. Raises CourseNotFound, CourseNotPublished, EtagMismatch."""
        return await self._move(principal, course_id, etag, CourseState.ARCHIVED)

    async def unarchive_course(self, *, principal: Principal, course_id: str, etag: str) -> ReadCourse:
        """Open the course to enrolment again. Raises CourseNotFound, CourseNotPublished, EtagMismatch."""
        return await self._move(principal, course_id, etag, CourseState.PUBLISHED)

    async def delete_course(self, *, principal: Principal, course_id: str, etag: str) -> None:
        """Delete a course that was never published. Raises CourseNotFound, CoursePublished, EtagMismatch."""

        async def work(connection: AsyncConnection) -> None:
            draft, _ = editable(principal, await self._store.lock_draft(connection, course_id))
            if not draft.matches(etag):
                raise EtagMismatch
            if draft.revision:
                raise CoursePublished
            await self._drafts.delete_course(connection, course_id)

        await self._database.transaction(work)

    async def publish_course(self, *, principal: Principal, course_id: str, etag: str) -> ReadCourse:
        """Make the draft the latest revision, unless it is that already.

        Raises CourseNotFound, CourseArchived, CourseEmpty, PrerequisiteNotPublished, PrerequisiteCycle, EtagMismatch.
        """

        async def work(connection: AsyncConnection) -> tuple[ReadCourse, int]:
            draft, content = editable(principal, await self._store.lock_draft(connection, course_id))
            if not draft.matches(etag, unchanged=not draft.changed):
                raise EtagMismatch
            if draft.state is CourseState.ARCHIVED:
                raise CourseArchived
            if draft.changed:
                await self._publish(connection, draft, content)
            return await self._published(connection, course_id)

        return self._advanced(await self._database.transaction(work))

    async def rollback_course(self, *, principal: Principal, course_id: str, revision: int, etag: str) -> ReadCourse:
        """Publish an earlier revision again, but for the reward, which only who manages courses sets.

        Raises CourseNotFound, CourseRevisionNotFound, CourseArchived, PrerequisiteNotPublished, PrerequisiteCycle,
        EtagMismatch.
        """

        async def work(connection: AsyncConnection) -> tuple[ReadCourse, int]:
            before = editable(principal, await self._store.lock_draft(connection, course_id))
            earlier, content = await self._revision(connection, course_id, revision)
            after = (before[0].rewritten(earlier), content)
            unchanged = after == before and not before[0].changed
            if not before[0].matches(etag, unchanged=unchanged):
                raise EtagMismatch
            if before[0].state is CourseState.ARCHIVED:
                raise CourseArchived
            if not unchanged:
                draft = await self._drafts.update_draft(connection, before, after)
                await self._publish(connection, draft, content)
            return await self._published(connection, course_id)

        return self._advanced(await self._database.transaction(work))

    async def list_course_revisions(
        self, *, principal: Principal, course_id: str, page_size: int, page_token: str
    ) -> Page[CourseRevision]:
        """Return a page of the course's revisions, newest first. Raises CourseNotFound, PageTokenInvalid."""
        bound_to = {"method": "ListCourseRevisions", "course": course_id, "user": principal.user_id}
        request = self._pages.request(page_size=page_size, page_token=page_token, bound_to=bound_to)
        async with self._database.reading() as connection:
            course = await self._store.find_course(connection, course_id)
            if course is None or not may_edit(principal, course):
                raise CourseNotFound
            found = await self._drafts.list_revisions(connection, request, course_id)
        return request.page(found, lambda revision: [revision.number])

    async def change_draft(
        self, *, principal: Principal, course_id: str, etag: str, change: Callable[[Course, CourseContent], Draft]
    ) -> ReadCourse:
        """Replace the draft by what `change` makes of it, and return it.

        Raises CourseNotFound, EtagMismatch, CourseTooLarge, and what `change` raises.
        """

        async def work(connection: AsyncConnection) -> tuple[ReadCourse, int]:
            before = editable(principal, await self._store.lock_draft(connection, course_id))
            if not before[0].matches(etag, unchanged=True):
                raise EtagMismatch
            after = change(*before)
            if not before[0].matches(etag, unchanged=after == before):
                raise EtagMismatch
            if after == before:
                return as_edited(before), 0
            saved = self._checked((await self._drafts.update_draft(connection, before, after), after[1]))
            if after[0].state is not before[0].state:
                closed = after[0].state is CourseState.ARCHIVED
                action = Action.COURSE_ARCHIVE if closed else Action.COURSE_UNARCHIVE
                await record(connection, action=action, target=f"courses/{course_id}")
            live = (before[0].state, before[0].capacity) != (after[0].state, after[0].capacity)
            return saved, await self._store.update_generation(connection) if live else 0

        return self._advanced(await self._database.transaction(work))

    async def _move(self, principal: Principal, course_id: str, etag: str, state: CourseState) -> ReadCourse:
        """Change the state of a published course, and return it as its latest revision has it."""

        def change(course: Course, content: CourseContent) -> Draft:
            if course.state is CourseState.DRAFT:
                raise CourseNotPublished
            return replace(course, state=state), content

        saved = await self.change_draft(principal=principal, course_id=course_id, etag=etag, change=change)
        async with self._database.reading() as connection:
            shown, content = await self._revision(connection, course_id, saved.course.revision)
        # All but the revision as the change left it: another's edit since is not part of what the etag names.
        course = replace(saved.course.rewritten(shown), completion_reward=shown.completion_reward)
        return ReadCourse(course, content, lessons_are_open=True)

    async def _publish(self, connection: AsyncConnection, draft: Course, content: CourseContent) -> None:
        if not content.required_lesson_ids:
            raise CourseEmpty
        if draft.prerequisites:
            # One publication at a time: two could close a circle of which neither sees the other's half.
            await self._drafts.lock_prerequisites(connection)
            if await self._drafts.is_needed(connection, draft.id, draft.prerequisites):
                raise PrerequisiteCycle
            published = await self._drafts.list_published(connection, draft.prerequisites)
            if missing := [course_id for course_id in draft.prerequisites if course_id not in published]:
                raise PrerequisiteNotPublished(course_ids=missing)
        await self._drafts.insert_revision(connection, draft, content)
        await record(connection, action=Action.COURSE_PUBLISH, target=f"courses/{draft.id}")

    async def _published(self, connection: AsyncConnection, course_id: str) -> tuple[ReadCourse, int]:
        found = _existing(await self._store.find_course_with_content(connection, course_id, None))
        # The generation last, so that others who change a course wait as little as can be.
        return ReadCourse(*found, lessons_are_open=True), await self._store.update_generation(connection)

    async def _revision(self, connection: AsyncConnection, course_id: str, number: int) -> Draft:
        found = await self._store.find_course_with_content(connection, course_id, number)
        if found is None:
            raise CourseRevisionNotFound
        return found

    def _checked(self, draft: Draft) -> ReadCourse:
        """Return the draft, which must not be too large, for the transaction to go on."""
        read, content = as_edited(draft), draft[1]
        # Encoded once, for its size and for the answer.
        saved = replace(read, encoded_modules=self._encoded_modules(read))
        modules, lessons, elements = len(content.modules), len(content.lessons), content.element_count
        size_bytes = self._encoded_bytes(saved)
        if modules > MAX_MODULES or lessons > MAX_LESSONS or elements > MAX_ELEMENTS or size_bytes > MAX_BYTES:
            raise CourseTooLarge(modules=modules, lessons=lessons, elements=elements, size_bytes=size_bytes)
        return saved

    def _advanced(self, done: tuple[ReadCourse, int]) -> ReadCourse:
        """Drop what this process shows of before the change."""
        shown, generation = done
        self._reads.advance(generation)
        return shown


def _existing(found: Found | None) -> Found:
    if found is None:
        raise CourseNotFound
    return found
