"""Edits of drafts: changes of a course, and functions on modules and lessons from content to content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from services.education.courses.model import CourseContent, Lesson, LessonKind, Module
from services.education.errors import LessonNotFound, ModuleNotFound, QuizMismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.education.courses.model import Course, Quiz
    from services.shared.errors import NotFound
    from services.shared.money import Money

Item = TypeVar("Item", bound="Module | Lesson")


@dataclass(frozen=True, slots=True)
class CourseChanges:
    """Changes of a course: the values of the fields that are named."""

    fields: frozenset[str]
    title: str
    description: str
    price: Money
    completion_reward: Money
    capacity: int | None
    language: str
    duration_seconds: int
    prerequisites: tuple[str, ...]

    def applied_to(self, course: Course) -> Course:
        """Return the course with the changes."""
        return replace(course, **{name: getattr(self, name) for name in self.fields})


@dataclass(frozen=True, slots=True)
class ModuleChanges:
    """Changes of a module: the values of the fields that are named."""

    fields: frozenset[str]
    title: str
    sequential: bool

    def applied_to(self, module: Module) -> Module:
        """Return the module with the changes."""
        return replace(module, **{name: getattr(self, name) for name in self.fields})


@dataclass(frozen=True, slots=True)
class LessonChanges:
    """Changes of a lesson: the values of the fields that are named."""

    fields: frozenset[str]
    title: str
    kind: LessonKind
    required: bool
    content: str
    quiz: Quiz | None

    def applied_to(self, lesson: Lesson) -> Lesson:
        """Return the lesson with the changes."""
        return replace(lesson, **{name: getattr(self, name) for name in self.fields})


def add_module(content: CourseContent, module: Module, position: int | None) -> CourseContent:
    """Insert a module at a position, or at the end."""
    return CourseContent(_inserted(content.modules, module, position))


def change_module(content: CourseContent, module_id: str, changes: ModuleChanges) -> CourseContent:
    """Change a module. Raises ModuleNotFound."""
    return _with_module(content, module_id, changes.applied_to)


def remove_module(content: CourseContent, module_id: str) -> CourseContent:
    """Remove a module with its lessons. Raises ModuleNotFound."""
    return CourseContent(_without(content.modules, find_module(content, module_id)))


def move_module(content: CourseContent, module_id: str, position: int) -> CourseContent:
    """Move a module to a position. Raises ModuleNotFound."""
    module = find_module(content, module_id)
    return CourseContent(_inserted(_without(content.modules, module), module, position))


def add_lesson(content: CourseContent, module_id: str, lesson: Lesson, position: int | None) -> CourseContent:
    """Insert a lesson at a position of a module, or at its end. Raises ModuleNotFound."""
    return _with_lessons(content, module_id, lambda lessons: _inserted(lessons, lesson, position))


def change_lesson(content: CourseContent, module_id: str, lesson_id: str, changes: LessonChanges) -> CourseContent:
    """Change a lesson. Raises ModuleNotFound, LessonNotFound, QuizMismatch."""
    changed = changes.applied_to(find_lesson(content, module_id, lesson_id))
    if (changed.kind is LessonKind.QUIZ) is (changed.quiz is None):
        raise QuizMismatch

    def exchanged(lessons: tuple[Lesson, ...]) -> tuple[Lesson, ...]:
        return tuple(changed if lesson.id == lesson_id else lesson for lesson in lessons)

    return _with_lessons(content, module_id, exchanged)


def remove_lesson(content: CourseContent, module_id: str, lesson_id: str) -> CourseContent:
    """Remove a lesson. Raises ModuleNotFound, LessonNotFound."""
    lesson = find_lesson(content, module_id, lesson_id)
    return _with_lessons(content, module_id, lambda lessons: _without(lessons, lesson))


def move_lesson(
    content: CourseContent, module_id: str, lesson_id: str, target_module_id: str, position: int
) -> CourseContent:
    """Move a lesson to a position of its own or another module. Raises ModuleNotFound, LessonNotFound."""
    lesson = find_lesson(content, module_id, lesson_id)
    return add_lesson(remove_lesson(content, module_id, lesson_id), target_module_id, lesson, position)


def find_module(content: CourseContent, module_id: str) -> Module:
    """Return a module. Raises ModuleNotFound."""
    return _found(content.modules, module_id, ModuleNotFound)


def find_lesson(content: CourseContent, module_id: str, lesson_id: str) -> Lesson:
    """Return a lesson of a module. Raises ModuleNotFound, LessonNotFound."""
    return _found(find_module(content, module_id).lessons, lesson_id, LessonNotFound)


def _with_module(content: CourseContent, module_id: str, change: Callable[[Module], Module]) -> CourseContent:
    changed = change(find_module(content, module_id))
    return CourseContent(tuple(changed if module.id == module_id else module for module in content.modules))


def _with_lessons(
    content: CourseContent, module_id: str, change: Callable[[tuple[Lesson, ...]], tuple[Lesson, ...]]
) -> CourseContent:
    return _with_module(content, module_id, lambda module: replace(module, lessons=change(module.lessons)))


def _found(items: tuple[Item, ...], item_id: str, error: type[NotFound]) -> Item:
    for item in items:
        if item.id == item_id:
            return item
    raise error


def _inserted(items: tuple[Item, ...], item: Item, position: int | None) -> tuple[Item, ...]:
    at = len(items) if position is None else position
    return (*items[:at], item, *items[at:])


def _without(items: tuple[Item, ...], gone: Item) -> tuple[Item, ...]:
    return tuple(item for item in items if item.id != gone.id)
