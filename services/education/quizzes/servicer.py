"""AssessmentService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import assessment_service_pb2 as pb
from azora.education.v1 import assessment_service_pb2_grpc

from services.education.quizzes import convert
from services.shared.keyed import idempotent
from services.shared.principal import current_principal

if TYPE_CHECKING:
    from interceptors.base import Context
    from services.education.quizzes.operations import QuizOperations


class AssessmentServicer(assessment_service_pb2_grpc.AssessmentServiceServicer):
    """Quizzes and attempts of the caller."""

    def __init__(self, operations: QuizOperations) -> None:
        self._operations = operations

    async def ListQuizzes(self, request: pb.ListQuizzesRequest, context: Context) -> pb.ListQuizzesResponse:
        page = await self._operations.list_quizzes(
            principal=current_principal(),
            course_id=request.course_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_quizzes_response(page)

    async def GetQuiz(self, request: pb.GetQuizRequest, context: Context) -> pb.GetQuizResponse:
        status = await self._operations.get_quiz(
            principal=current_principal(), course_id=request.course_id, lesson_id=request.lesson_id
        )
        return convert.get_quiz_response(status)

    async def StartAttempt(self, request: pb.StartAttemptRequest, context: Context) -> pb.StartAttemptResponse:
        return await self._operations.start_attempt(
            principal=current_principal(),
            course_id=request.course_id,
            lesson_id=request.lesson_id,
            idempotent=idempotent(request, pb.StartAttemptResponse, convert.start_attempt_response),
        )

    async def SaveAnswers(self, request: pb.SaveAnswersRequest, context: Context) -> pb.SaveAnswersResponse:
        read = await self._operations.save_answers(
            principal=current_principal(), attempt_id=request.attempt_id, answers=convert.answers(request)
        )
        return convert.save_answers_response(read)

    async def SubmitAttempt(self, request: pb.SubmitAttemptRequest, context: Context) -> pb.SubmitAttemptResponse:
        return await self._operations.submit_attempt(
            principal=current_principal(),
            attempt_id=request.attempt_id,
            answers=convert.answers(request),
            idempotent=idempotent(request, pb.SubmitAttemptResponse, convert.submit_attempt_response),
        )

    async def GetAttempt(self, request: pb.GetAttemptRequest, context: Context) -> pb.GetAttemptResponse:
        read = await self._operations.get_attempt(principal=current_principal(), attempt_id=request.attempt_id)
        return convert.get_attempt_response(read)

    async def ListAttempts(self, request: pb.ListAttemptsRequest, context: Context) -> pb.ListAttemptsResponse:
        page = await self._operations.list_attempts(
            principal=current_principal(),
            course_id=request.course_id,
            lesson_id=request.lesson_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_attempts_response(page)
