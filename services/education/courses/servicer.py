"""CourseService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import course_service_pb2_grpc

from services.education.courses import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from azora.education.v1 import course_service_pb2 as pb

    from interceptors.base import Context
    from services.education.courses.operations import Catalogue, CourseOperations


class CourseServicer(course_service_pb2_grpc.CourseServiceServicer):
    """The course catalogue."""

    def __init__(self, operations: CourseOperations, catalogue: Catalogue) -> None:
        self._operations = operations
        self._catalogue = catalogue

    async def ListCourses(self, request: pb.ListCoursesRequest, context: Context) -> pb.ListCoursesResponse:
        return await self._catalogue.list_courses(
            principal=current_principal(),
            page_size=request.page_size,
            page_token=request.page_token,
            wanted=convert.course_filter(request),
            order=convert.course_order(request),
            mine=request.mine,
            encode=convert.list_courses_response,
        )

    async def SearchCourses(self, request: pb.SearchCoursesRequest, context: Context) -> pb.SearchCoursesResponse:
        return await self._catalogue.search_courses(
            principal=current_principal(),
            page_size=request.page_size,
            page_token=request.page_token,
            query=request.query,
            wanted=convert.course_filter(request),
            encode=convert.search_courses_response,
        )

    async def GetCourse(self, request: pb.GetCourseRequest, context: Context) -> pb.GetCourseResponse:
        return await self._operations.get_course(
            principal=current_principal(),
            course_id=request.course_id,
            revision=request.revision,
            draft=convert.is_draft(request),
            encode=convert.get_course_response,
        )

    async def CreateCourse(self, request: pb.CreateCourseRequest, context: Context) -> pb.CreateCourseResponse:
        course = await self._operations.create_course(principal=current_principal(), new=convert.new_course(request))
        return convert.create_course_response(course)

    async def PublishCourse(self, request: pb.PublishCourseRequest, context: Context) -> pb.PublishCourseResponse:
        course = await self._operations.publish_course(
            principal=current_principal(), course_id=request.course_id, etag=request.etag
        )
        return convert.publish_course_response(course)
