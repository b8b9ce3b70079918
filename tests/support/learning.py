"""What people look up: search results, figures, and their overview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.education.v1 import course_service_pb2, learning_pb2, learning_service_pb2, learning_service_pb2_grpc

if TYPE_CHECKING:
    from tests.support.education import Person


async def search(person: Person, query: str, **fields: Any) -> course_service_pb2.SearchCoursesResponse:
    """Search courses."""
    request = course_service_pb2.SearchCoursesRequest(query=query, **fields)
    return await person.education.courses.SearchCourses(request, metadata=person.metadata)


async def figures(person: Person, course_id: str) -> learning_pb2.CourseFigures:
    """Read the figures of a course."""
    request = learning_service_pb2.GetCourseFiguresRequest(course_id=course_id)
    return (await _stub(person).GetCourseFigures(request, metadata=person.metadata)).figures


async def overview(person: Person) -> learning_pb2.LearningOverview:
    """Read what they have done and can go on with."""
    request = learning_service_pb2.GetLearningOverviewRequest()
    return (await _stub(person).GetLearningOverview(request, metadata=person.metadata)).overview


def _stub(person: Person) -> learning_service_pb2_grpc.LearningServiceAsyncStub:
    return learning_service_pb2_grpc.LearningServiceStub(person.education.channel)
