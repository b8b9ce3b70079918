"""Operations on the modules and lessons of a draft."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.education.courses import edits

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.education.courses.authoring import AuthoringOperations
    from services.education.courses.edits import LessonChanges, ModuleChanges
    from services.education.courses.model import (
        Course,
        CourseContent,
        Lesson,
        Module,
        ReadCourse,
    )
    from services.shared.principal import Principal


class LessonOperations:
    """Edits of modules and lessons, each with the course's etag. All return the draft after the edit.

    Each raises CourseNotFound, EtagMismatch, CourseTooLarge, and what its edit raises.
    """

    def __init__(self, authoring: AuthoringOperations) -> None:
        self._authoring = authoring

    async def create_module(
        self, *, principal: Principal, course_id: str, etag: str, module: Module, position: int | None
    ) -> ReadCourse:
        """Insert a module."""
        return await self._edit(principal, course_id, etag, lambda content: edits.add_module(content, module, position))

    async def update_module(
        self, *, principal: Principal, course_id: str, etag: str, module_id: str, changes: ModuleChanges
    ) -> ReadCourse:
        """Change a module. Raises ModuleNotFound."""
        return await self._edit(
            principal, course_id, etag, lambda content: edits.change_module(content, module_id, changes)
        )

    async def delete_module(self, *, principal: Principal, course_id: str, etag: str, module_id: str) -> ReadCourse:
        """Remove a module with its lessons. Raises ModuleNotFound."""
        return await self._edit(principal, course_id, etag, lambda content: edits.remove_module(content, module_id))

    async def move_module(
        self, *, principal: Principal, course_id: str, etag: str, module_id: str, position: int
    ) -> ReadCourse:
        """Move a module. Raises ModuleNotFound."""
        return await self._edit(
            principal, course_id, etag, lambda content: edits.move_module(content, module_id, position)
        )

    async def create_lesson(
        self, *, principal: Principal, course_id: str, etag: str, module_id: str, lesson: Lesson, position: int | None
    ) -> ReadCourse:
        """Insert a lesson. Raises ModuleNotFound."""
        return await self._edit(
            principal, course_id, etag, lambda content: edits.add_lesson(content, module_id, lesson, position)
        )

    async def update_lesson(
        self, *, principal: Principal, course_id: str, etag: str, module_id: str, lesson_id: str, changes: LessonChanges
    ) -> ReadCourse:
        """Change a lesson. Raises ModuleNotFound, LessonNotFound, QuizMismatch."""
        return await self._edit(
            principal, course_id, etag, lambda content: edits.change_lesson(content, module_id, lesson_id, changes)
        )

    async def delete_lesson(
        self, *, principal: Principal, course_id: str, etag: str, module_id: str, lesson_id: str
    ) -> ReadCourse:
        """Remove a lesson. Raises ModuleNotFound, LessonNotFound."""
        return await self._edit(
            principal, course_id, etag, lambda content: edits.remove_lesson(content, module_id, lesson_id)
        )

    async def move_lesson(
        self,
        *,
        principal: Principal,
        course_id: str,
        etag: str,
        module_id: str,
        lesson_id: str,
        target_module_id: str,
        position: int,
    ) -> ReadCourse:
        """Move a lesson. Raises ModuleNotFound, LessonNotFound."""
        return await self._edit(
            principal,
            course_id,
            etag,
            lambda content: edits.move_lesson(content, module_id, lesson_id, target_module_id or module_id, position),
        )

    async def _edit(
        self, principal: Principal, course_id: str, etag: str, edit: Callable[[CourseContent], CourseContent]
    ) -> ReadCourse:
        def change(course: Course, content: CourseContent) -> tuple[Course, CourseContent]:
            edited = edit(content)
            return replace(course, lesson_count=len(edited.lessons)), edited

        return await self._authoring.change_draft(principal=principal, course_id=course_id, etag=etag, change=change)
