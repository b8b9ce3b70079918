"""Authoring of courses in tests: calls of CourseService by an RPC's name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.education.v1 import course_pb2
from azora.education.v1 import course_service_pb2 as pb

if TYPE_CHECKING:
    from tests.support.education import Person


async def call(person: Person, rpc: str, **fields: Any) -> Any:
    """Call an RPC of CourseService and return its answer."""
    request = getattr(pb, f"{rpc}Request")(**fields)
    return await getattr(person.education.courses, rpc)(request, metadata=person.metadata)


async def update(person: Person, course_id: str, *mask: str, etag: str = "", **fields: Any) -> course_pb2.Course:
    """Update a course: the fields that are given, or those of the mask."""
    changes = pb.CourseChanges(etag=etag, **fields)
    answer = await call(person, "UpdateCourse", course_id=course_id, course=changes, update_mask={"paths": mask})
    course: course_pb2.Course = answer.course
    return course


async def draft(person: Person, course_id: str) -> course_pb2.Course:
    """Read the draft of a course."""
    return await person.read(course_id, view=course_pb2.COURSE_VIEW_DRAFT)


def outline(course: course_pb2.Course) -> list[tuple[str, list[str]]]:
    """Return the titles of a course's modules, each with those of its lessons."""
    return [(module.title, [lesson.title for lesson in module.lessons]) for module in course.modules]
