"""EnrollmentService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import enrollment_service_pb2 as pb
from azora.education.v1 import enrollment_service_pb2_grpc

from services.education.enrollments import convert
from services.shared.keyed import idempotent
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from interceptors.base import Context
    from services.education.enrollments.operations import EnrollmentOperations


class EnrollmentServicer(enrollment_service_pb2_grpc.EnrollmentServiceServicer):
    """Enrolments of the caller."""

    def __init__(self, operations: EnrollmentOperations) -> None:
        self._operations = operations

    async def Enroll(self, request: pb.EnrollRequest, context: Context) -> pb.EnrollResponse:
        return await self._operations.enroll(
            principal=current_principal(),
            course_id=request.course_id,
            expected_price=convert.expected_price(request),
            idempotent=idempotent(request, pb.EnrollResponse, convert.enroll_response),
        )

    async def ListEnrollments(self, request: pb.ListEnrollmentsRequest, context: Context) -> pb.ListEnrollmentsResponse:
        page = await self._operations.list_enrollments(
            principal=current_principal(), page_size=request.page_size, page_token=request.page_token
        )
        return convert.list_enrollments_response(page)

    async def GetEnrollment(self, request: pb.GetEnrollmentRequest, context: Context) -> pb.GetEnrollmentResponse:
        enrollment = await self._operations.get_enrollment(
            principal=current_principal(), enrollment_id=request.enrollment_id
        )
        return convert.get_enrollment_response(enrollment)

    async def CancelEnrollment(
        self, request: pb.CancelEnrollmentRequest, context: Context
    ) -> pb.CancelEnrollmentResponse:
        return await self._operations.cancel_enrollment(
            principal=current_principal(),
            enrollment_id=request.enrollment_id,
            idempotent=idempotent(request, pb.CancelEnrollmentResponse, convert.cancel_enrollment_response),
        )

    async def CompleteLesson(self, request: pb.CompleteLessonRequest, context: Context) -> pb.CompleteLessonResponse:
        return await self._operations.complete_lesson(
            principal=current_principal(),
            enrollment_id=request.enrollment_id,
            lesson_id=request.lesson_id,
            idempotent=idempotent(request, pb.CompleteLessonResponse, convert.complete_lesson_response),
        )

    async def GetProgress(self, request: pb.GetProgressRequest, context: Context) -> pb.GetProgressResponse:
        progress = await self._operations.get_progress(
            principal=current_principal(), enrollment_id=request.enrollment_id
        )
        return convert.get_progress_response(progress)

    def WatchProgress(
        self, request: pb.WatchProgressRequest, context: Context
    ) -> AsyncIterator[pb.WatchProgressResponse]:
        watch = self._operations.watch_progress(principal=current_principal(), enrollment_id=request.enrollment_id)
        return convert.watch_progress_responses(watch)
