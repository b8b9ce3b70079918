"""EnrollmentService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azora.education.v1 import enrollment_service_pb2 as pb
from azora.education.v1 import enrollment_service_pb2_grpc

from services.education.enrollments import convert
from services.shared import keyed
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from services.education.enrollments.operations import EnrollmentOperations


class EnrollmentServicer(enrollment_service_pb2_grpc.EnrollmentServiceServicer):
    """Translates; the operations do the work."""

    def __init__(self, operations: EnrollmentOperations) -> None:
        self._operations = operations

    async def Enroll(self, request: pb.EnrollRequest, context: Any) -> pb.EnrollResponse:
        return await self._operations.enroll(
            principal=current_principal(),
            course_id=request.course_id,
            idempotent=keyed.idempotent(request, pb.EnrollResponse, convert.enroll_response),
        )

    async def ListEnrollments(self, request: pb.ListEnrollmentsRequest, context: Any) -> pb.ListEnrollmentsResponse:
        page = await self._operations.list_enrollments(
            principal=current_principal(), page_size=request.page_size, page_token=request.page_token
        )
        return convert.list_enrollments_response(page)

    async def GetEnrollment(self, request: pb.GetEnrollmentRequest, context: Any) -> pb.GetEnrollmentResponse:
        enrollment = await self._operations.get(principal=current_principal(), enrollment_id=request.enrollment_id)
        return convert.get_response(enrollment)

    async def CompleteLesson(self, request: pb.CompleteLessonRequest, context: Any) -> pb.CompleteLessonResponse:
        return await self._operations.complete_lesson(
            principal=current_principal(),
            enrollment_id=request.enrollment_id,
            lesson_id=request.lesson_id.lower(),  # As ids are written; those of other fields PostgreSQL compares.
            idempotent=keyed.idempotent(request, pb.CompleteLessonResponse, convert.complete_lesson_response),
        )

    async def GetProgress(self, request: pb.GetProgressRequest, context: Any) -> pb.GetProgressResponse:
        progress, lessons = await self._operations.progress(
            principal=current_principal(), enrollment_id=request.enrollment_id
        )
        return convert.progress_response(progress, lessons)
