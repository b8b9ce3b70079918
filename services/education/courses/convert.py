"""Conversion between courses and their messages."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from azora.education.v1 import course_pb2, enrollment_pb2
from azora.education.v1 import course_service_pb2 as pb

from services.education.courses.content import changed_fields, content, described, duration, lesson, module, modules
from services.education.courses.edits import CourseChanges, find_module
from services.education.courses.model import CourseFilter, CourseOrder, NewCourse
from services.education.people.model import UserRenamed
from services.shared.convert import money, timestamp, to_money
from services.shared.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence

    from azora.auth.v1 import events_pb2

    from services.education.courses.model import Course, CourseRevision, Lock, ReadCourse
    from services.shared.pagination import Page

COURSE_FIELDS = (
    *("title", "description", "price", "completion_reward", "capacity"),
    *("language", "duration", "prerequisites"),
)
ENCODING = hashlib.sha256(course_pb2.DESCRIPTOR.serialized_pb).hexdigest()[:16]
"""Names the messages of courses: bytes that another version of the service encoded may lack what this one shows."""


def new_course(request: pb.CreateCourseRequest) -> NewCourse:
    """Return the course that the request describes, with ids for its modules and lessons."""
    return replace(
        _new_course(request),
        educator_id=request.educator_id or None,
        completion_reward=to_money(request.completion_reward) if request.HasField("completion_reward") else Money(0),
    )


def imported_course(document: pb.CourseDocument) -> NewCourse:
    """Return the course that a document describes, with ids for its modules and lessons."""
    return _new_course(document)


def course_changes(request: pb.UpdateCourseRequest) -> CourseChanges:
    """Return the changes of a course. Raises UpdateMaskInvalid, ValidationFailed."""
    changes = request.course
    fields = changed_fields(changes, request.update_mask.paths, COURSE_FIELDS)
    return CourseChanges(
        fields=frozenset("duration_seconds" if name == "duration" else name for name in fields),
        title=changes.title,
        description=changes.description,
        price=to_money(changes.price) if changes.HasField("price") else Money(0),
        completion_reward=to_money(changes.completion_reward) if changes.HasField("completion_reward") else Money(0),
        capacity=changes.capacity if changes.HasField("capacity") else None,
        language=language(changes.language),
        duration_seconds=changes.duration.seconds,
        prerequisites=tuple(changes.prerequisites),
    )


def course_filter(request: pb.ListCoursesRequest | pb.SearchCoursesRequest) -> CourseFilter:
    """Return the filter that a request describes."""
    state = enrollment_pb2.EnrollmentState.Name(request.enrollment_state).removeprefix("ENROLLMENT_STATE_")
    return CourseFilter(
        language=request.language.lower(),
        min_price=to_money(request.min_price) if request.HasField("min_price") else None,
        max_price=to_money(request.max_price) if request.HasField("max_price") else None,
        enrollment_state=state if request.enrollment_state else None,
    )


def course_order(request: pb.ListCoursesRequest) -> CourseOrder:
    """Return the order that a request asks for."""
    return CourseOrder(request.order_by or CourseOrder.NEWEST)


def is_draft(request: pb.GetCourseRequest) -> bool:
    """Return whether the draft is asked for."""
    return request.view == course_pb2.COURSE_VIEW_DRAFT


def language(tag: str) -> str:
    """Return a BCP 47 tag in canonical case (RFC 5646, 2.1.1): "pt-BR", "zh-Hant-TW"."""
    first, *rest = tag.lower().split("-")
    cased = {2: str.upper, 4: str.title}
    return "-".join([first, *(cased.get(len(part), str)(part) for part in rest)])


def user_renamed(event: events_pb2.UserRenamed) -> UserRenamed:
    """Return Auth's event."""
    return UserRenamed(event.user_id, event.name, event.version)


def create_course_response(read: ReadCourse) -> pb.CreateCourseResponse:
    """Return the answer of CreateCourse."""
    return pb.CreateCourseResponse(course=_with_modules(read))


def publish_course_response(read: ReadCourse) -> pb.PublishCourseResponse:
    """Return the answer of PublishCourse."""
    return pb.PublishCourseResponse(course=_with_modules(read))


def get_course_response(read: ReadCourse | None, locks: Sequence[Lock] = ()) -> pb.GetCourseResponse:
    """Return the answer of GetCourse: the course, what locks it for the caller, or both."""
    return pb.GetCourseResponse(course=_with_modules(read) if read else None, locks=[lock(model) for model in locks])


def lock(model: Lock) -> enrollment_pb2.Lock:
    """Return the message of a lock."""
    return enrollment_pb2.Lock(
        kind=enrollment_pb2.LockKind.Value(f"LOCK_KIND_{model.kind}"),
        id=model.id,
        title=model.title,
        module_id=model.module_id,
    )


def list_courses_response(page: Page[Course]) -> pb.ListCoursesResponse:
    """Return the answer of ListCourses."""
    return pb.ListCoursesResponse(
        courses=[_course(course) for course in page.items], next_page_token=page.next_page_token
    )


def search_courses_response(page: Page[Course]) -> pb.SearchCoursesResponse:
    """Return the answer of SearchCourses."""
    return pb.SearchCoursesResponse(
        courses=[_course(course) for course in page.items], next_page_token=page.next_page_token
    )


def update_course_response(read: ReadCourse) -> pb.UpdateCourseResponse:
    """Return the answer of UpdateCourse."""
    return pb.UpdateCourseResponse(course=_with_modules(read))


def archive_course_response(read: ReadCourse) -> pb.ArchiveCourseResponse:
    """Return the answer of ArchiveCourse."""
    return pb.ArchiveCourseResponse(course=_with_modules(read))


def unarchive_course_response(read: ReadCourse) -> pb.UnarchiveCourseResponse:
    """Return the answer of UnarchiveCourse."""
    return pb.UnarchiveCourseResponse(course=_with_modules(read))


def rollback_course_response(read: ReadCourse) -> pb.RollbackCourseResponse:
    """Return the answer of RollbackCourse."""
    return pb.RollbackCourseResponse(course=_with_modules(read))


def import_course_response(read: ReadCourse) -> pb.ImportCourseResponse:
    """Return the answer of ImportCourse."""
    return pb.ImportCourseResponse(course=_with_modules(read))


def list_course_revisions_response(page: Page[CourseRevision]) -> pb.ListCourseRevisionsResponse:
    """Return the answer of ListCourseRevisions."""
    return pb.ListCourseRevisionsResponse(
        revisions=[
            pb.CourseRevision(
                revision=revision.number,
                title=revision.title,
                price=money(revision.price),
                lesson_count=revision.lesson_count,
                create_time=timestamp(revision.create_time),
            )
            for revision in page.items
        ],
        next_page_token=page.next_page_token,
    )


def export_course_response(read: ReadCourse) -> pb.ExportCourseResponse:
    """Return the answer of ExportCourse: what ImportCourse takes."""
    course = read.course
    return pb.ExportCourseResponse(
        document=pb.CourseDocument(
            title=course.title,
            description=course.description,
            price=money(course.price),
            capacity=course.capacity,
            language=course.language,
            duration=duration(course.duration_seconds),
            prerequisites=course.prerequisites,
            modules=described(read.content),
        )
    )


def create_module_response(read: ReadCourse, module_id: str) -> pb.CreateModuleResponse:
    """Return the answer of CreateModule."""
    return pb.CreateModuleResponse(module=module(find_module(read.content, module_id), read), etag=read.course.etag)


def update_module_response(read: ReadCourse, module_id: str) -> pb.UpdateModuleResponse:
    """Return the answer of UpdateModule."""
    return pb.UpdateModuleResponse(module=module(find_module(read.content, module_id), read), etag=read.course.etag)


def delete_module_response(read: ReadCourse) -> pb.DeleteModuleResponse:
    """Return the answer of DeleteModule."""
    return pb.DeleteModuleResponse(etag=read.course.etag)


def move_module_response(read: ReadCourse) -> pb.MoveModuleResponse:
    """Return the answer of MoveModule."""
    return pb.MoveModuleResponse(etag=read.course.etag)


def create_lesson_response(read: ReadCourse, lesson_id: str) -> pb.CreateLessonResponse:
    """Return the answer of CreateLesson."""
    return pb.CreateLessonResponse(lesson=_lesson(read, lesson_id), etag=read.course.etag)


def update_lesson_response(read: ReadCourse, lesson_id: str) -> pb.UpdateLessonResponse:
    """Return the answer of UpdateLesson."""
    return pb.UpdateLessonResponse(lesson=_lesson(read, lesson_id), etag=read.course.etag)


def delete_lesson_response(read: ReadCourse) -> pb.DeleteLessonResponse:
    """Return the answer of DeleteLesson."""
    return pb.DeleteLessonResponse(etag=read.course.etag)


def move_lesson_response(read: ReadCourse) -> pb.MoveLessonResponse:
    """Return the answer of MoveLesson."""
    return pb.MoveLessonResponse(etag=read.course.etag)


def encoded_modules(read: ReadCourse) -> bytes:
    """Return the modules of a course with what its reader gets of them, as a part of its message."""
    return course_pb2.Course(modules=modules(read)).SerializeToString()


def encoded_bytes(read: ReadCourse) -> int:
    """Return the size of a course as an encoded message."""
    return _with_modules(read).ByteSize()


def _new_course(described: pb.CreateCourseRequest | pb.CourseDocument) -> NewCourse:
    """Return the caller's course without a reward."""
    return NewCourse(
        educator_id=None,
        title=described.title,
        description=described.description,
        price=to_money(described.price) if described.HasField("price") else Money(0),
        completion_reward=Money(0),
        capacity=described.capacity if described.HasField("capacity") else None,
        language=language(described.language),
        duration_seconds=described.duration.seconds,
        prerequisites=tuple(described.prerequisites),
        content=content(described.modules),
    )


def _with_modules(read: ReadCourse) -> course_pb2.Course:
    message = _course(read.course)
    if read.encoded_modules is None:
        message.modules.extend(modules(read))
    else:
        message.MergeFromString(read.encoded_modules)
    return message


def _lesson(read: ReadCourse, lesson_id: str) -> course_pb2.Lesson | None:
    found = read.content.lesson(lesson_id)
    return lesson(found, read) if found else None


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
        language=course.language,
        duration=duration(course.duration_seconds),
        prerequisites=course.prerequisites,
    )
