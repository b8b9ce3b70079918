"""What opens the modules of a course."""

from __future__ import annotations

from services.education.courses.model import CourseContent, Lesson, LessonKind, LockKind, Module


def module(name: str, *lessons: str, sequential: bool = False) -> Module:
    """Return a module; lessons whose names begin with "o" are optional."""
    return Module(
        name,
        f"Module {name}",
        tuple(
            Lesson(lesson, f"Lesson {lesson}", LessonKind.ARTICLE, not lesson.startswith("o"), "") for lesson in lessons
        ),
        sequential=sequential,
    )


COURSE = CourseContent(
    (
        module("m1", "a", "b", "o1", sequential=True),
        module("m2", "c"),
        module("m3", "d", "e", sequential=True),
        module("m4", "f", sequential=True),
    )
)


def locked(*completed: str) -> dict[str, list[str]]:
    """Return what locks each module for who has completed these lessons."""
    found: dict[str, list[str]] = {}
    for lock in COURSE.locks(set(completed)):
        found.setdefault(lock.module_id, []).append(lock.id)
    return found


def test_a_sequential_module_opens_when_the_required_lessons_before_it_are_complete() -> None:
    assert locked() == {"m3": ["a", "b", "c"], "m4": ["a", "b", "c", "d", "e"]}
    assert locked("a", "b") == {"m3": ["c"], "m4": ["c", "d", "e"]}
    assert locked("a", "b", "c") == {"m4": ["d", "e"]}
    assert locked("a", "b", "c", "d", "e") == {}


def test_a_lock_names_what_must_be_completed() -> None:
    (lock,) = [lock for lock in COURSE.locks({"b", "c"}) if lock.module_id == "m3"]
    assert (lock.kind, lock.id, lock.title) == (LockKind.LESSON, "a", "Lesson a")


def test_a_module_that_was_completed_is_not_locked_again() -> None:
    """A newer revision may ask for a lesson before it that its learner never saw."""
    assert locked("b", "c", "d", "e", "f") == {}
    assert locked("b", "c", "d", "f") == {"m3": ["a"]}


def test_a_module_has_a_bounded_number_of_locks() -> None:
    course = CourseContent(
        (module("first", *(str(number) for number in range(300))), module("last", "z", sequential=True))
    )
    assert [lock.id for lock in course.locks(set())] == [str(number) for number in range(10)]


def test_a_course_without_sequential_modules_has_no_locks() -> None:
    assert CourseContent((module("m", "a"), module("n", "b"))).locks(set()) == ()


def test_the_locks_of_all_lessons_are_found_at_once() -> None:
    """A page of a hundred quizzes looked for all locks of the course a hundred times."""
    for completed in (set[str](), {"a", "b", "c"}, {"d"}):
        by_lesson = COURSE.locks_by_lesson(completed)
        assert by_lesson == {lesson.id: COURSE.locks_of(lesson.id, completed) for lesson in COURSE.lessons}
    assert [lock.id for lock in COURSE.locks_by_lesson({"d"})["e"]] == ["a", "b", "c"]
