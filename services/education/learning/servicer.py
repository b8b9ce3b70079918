"""LearningService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import learning_service_pb2_grpc

from services.education.learning import convert
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from azora.education.v1 import learning_service_pb2 as pb

    from interceptors.base import Context
    from services.education.learning.operations import LearningOperations


class LearningServicer(learning_service_pb2_grpc.LearningServiceServicer):
    """Figures of courses and overviews of learners."""

    def __init__(self, operations: LearningOperations) -> None:
        self._operations = operations

    async def GetCourseFigures(
        self, request: pb.GetCourseFiguresRequest, context: Context
    ) -> pb.GetCourseFiguresResponse:
        figures = await self._operations.get_course_figures(principal=current_principal(), course_id=request.course_id)
        return convert.get_course_figures_response(figures)

    async def GetLearningOverview(
        self, request: pb.GetLearningOverviewRequest, context: Context
    ) -> pb.GetLearningOverviewResponse:
        overview = await self._operations.get_learning_overview(principal=current_principal())
        return convert.get_learning_overview_response(overview)
