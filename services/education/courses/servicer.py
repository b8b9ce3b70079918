"""CourseService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.education.v1 import course_service_pb2_grpc

from services.education.courses import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from azora.education.v1 import course_service_pb2 as pb

    from services.education.courses.operations import CourseOperations


class CourseServicer(course_service_pb2_grpc.CourseServiceServicer):
    """Translates; the operations do the work."""

    def __init__(self, operations: CourseOperations) -> None:
        self._operations = operations

    async def ListCourses(self, request: pb.ListCoursesRequest, context: Any) -> pb.ListCoursesResponse:
        page = await self._operations.list_courses(
            principal=current_principal(),
            page_size=request.page_size,
            page_token=request.page_token,
            mine=request.mine,
        )
        return convert.list_courses_response(page)

    async def GetCourse(self, request: pb.GetCourseRequest, context: Any) -> pb.GetCourseResponse:
        course = await self._operations.get(principal=current_principal(), course_id=request.course_id)
        return convert.get_response(course)

    async def CreateCourse(self, request: pb.CreateCourseRequest, context: Any) -> pb.CreateCourseResponse:
        course = await self._operations.create(principal=current_principal(), new=convert.new_course(request))
        return convert.create_response(course)

    async def PublishCourse(self, request: pb.PublishCourseRequest, context: Any) -> pb.PublishCourseResponse:
        course = await self._operations.publish(
            principal=current_principal(), course_id=request.course_id, etag=request.etag
        )
        return convert.publish_response(course)
