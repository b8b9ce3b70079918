"""Conversion between courses and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import course_pb2
from azora.education.v1 import course_service_pb2 as pb

from services.education.courses.model import Lesson, LessonKind, Module, NewCourse
from services.education.people.model import UserRenamed
from services.shared.convert import money, timestamp, to_money
from services.shared.ids import new_id
from services.shared.money import Money

if TYPE_CHECKING:
    from azora.auth.v1 import events_pb2

    from services.education.courses.model import Course, CourseContent, ReadCourse
    from services.shared.pagination import Page


def new_course(request: pb.CreateCourseRequest) -> NewCourse:
    """Return the course that the request describes, with ids for its modules and lessons."""
    return NewCourse(
        educator_id=request.educator_id or None,
        title=request.title,
        description=request.description,
        price=to_money(request.price) if request.HasField("price") else Money(0),
        completion_reward=to_money(request.completion_reward) if request.HasField("completion_reward") else Money(0),
        capacity=request.capacity if request.HasField("capacity") else None,
        modules=tuple(
            Module(new_id(), module.title, tuple(_new_lesson(lesson) for lesson in module.lessons))
            for module in request.modules
        ),
    )


def create_course_response(read: ReadCourse) -> pb.CreateCourseResponse:
    """Return the answer of CreateCourse."""
    return pb.CreateCourseResponse(course=_with_modules(read))


def publish_course_response(read: ReadCourse) -> pb.PublishCourseResponse:
    """Return the answer of PublishCourse."""
    return pb.PublishCourseResponse(course=_with_modules(read))


def get_course_response(read: ReadCourse) -> pb.GetCourseResponse:
    """Return the answer of GetCourse."""
    return pb.GetCourseResponse(course=_with_modules(read))


def list_courses_response(page: Page[Course]) -> pb.ListCoursesResponse:
    """Return the answer of ListCourses."""
    return pb.ListCoursesResponse(
        courses=[_course(course) for course in page.items], next_page_token=page.next_page_token
    )


def _with_modules(read: ReadCourse) -> course_pb2.Course:
    message = _course(read.course)
    message.modules.extend(_modules(read.content, lessons_are_open=read.lessons_are_open))
    return message


def _course(course: Course) -> course_pb2.Course:
    return course_pb2.Course(
        id=course.id,
        title=course.title,
        description=course.description,
        price=money(course.price),
        state=course_pb2.CourseState.Value(f"COURSE_STATE_{course.state}"),
        completion_reward=money(course.completion_reward),
        capacity=course.capacity,
        educator_id=course.educator_id,
        educator_name=course.educator_name,
        lesson_count=course.lesson_count,
        revision=course.revision,
        create_time=timestamp(course.create_time),
        update_time=timestamp(course.update_time),
        publish_time=timestamp(course.publish_time),
        etag=course.etag,
    )


def _modules(content: CourseContent, *, lessons_are_open: bool) -> list[course_pb2.Module]:
    return [
        course_pb2.Module(
            id=module.id,
            title=module.title,
            lessons=[
                course_pb2.Lesson(
                    id=lesson.id,
                    title=lesson.title,
                    kind=course_pb2.LessonKind.Value(f"LESSON_KIND_{lesson.kind}"),
                    required=lesson.required,
                    content=lesson.content if lessons_are_open else "",
                )
                for lesson in module.lessons
            ],
        )
        for module in content.modules
    ]


def _new_lesson(lesson: pb.NewLesson) -> Lesson:
    return Lesson(
        id=new_id(),
        title=lesson.title,
        kind=LessonKind(
            course_pb2.LessonKind.Name(lesson.kind or course_pb2.LESSON_KIND_ARTICLE)[len("LESSON_KIND_") :]
        ),
        required=lesson.required if lesson.HasField("required") else True,
        content=lesson.content,
    )


def user_renamed(event: events_pb2.UserRenamed) -> UserRenamed:
    """Return Auth's event."""
    return UserRenamed(event.user_id, event.name, event.version)
