"""Conversion between figures, overviews and their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azora.education.v1 import learning_pb2
from azora.education.v1 import learning_service_pb2 as pb

from services.education.enrollments.convert import enrollment
from services.shared.convert import timestamp

if TYPE_CHECKING:
    from services.education.courses.model import Lesson
    from services.education.learning.model import CourseFigures, CurrentCourse, EnrollmentFigures, LearningOverview


def get_course_figures_response(model: CourseFigures) -> pb.GetCourseFiguresResponse:
    """Return the answer of GetCourseFigures."""
    return pb.GetCourseFiguresResponse(
        figures=learning_pb2.CourseFigures(
            course_id=model.course_id,
            enrollments=_enrollment_figures(model.enrollments),
            lessons=[
                _lesson_figures(model, module.id, lesson)
                for module in model.content.modules
                for lesson in module.lessons
            ],
            compute_time=timestamp(model.compute_time),
        )
    )


def get_learning_overview_response(model: LearningOverview) -> pb.GetLearningOverviewResponse:
    """Return the answer of GetLearningOverview."""
    return pb.GetLearningOverviewResponse(
        overview=learning_pb2.LearningOverview(
            pending_courses=model.figures.pending_courses,
            active_courses=model.figures.active_courses,
            completed_courses=model.figures.completed_courses,
            completed_lessons=model.figures.completed_lessons,
            current_courses=[_current_course(current) for current in model.current_courses],
            compute_time=timestamp(model.compute_time),
        )
    )


def _enrollment_figures(model: EnrollmentFigures) -> learning_pb2.EnrollmentFigures:
    return learning_pb2.EnrollmentFigures(
        enrolled_learners=model.enrolled_learners,
        pending=model.pending,
        active=model.active,
        completed=model.completed,
        cancelled=model.cancelled,
        completion_basis_points=model.completion_basis_points,
    )


def _lesson_figures(model: CourseFigures, module_id: str, lesson: Lesson) -> learning_pb2.LessonFigures:
    completed, basis_points = model.completed_share(lesson)
    return learning_pb2.LessonFigures(
        lesson_id=lesson.id,
        title=lesson.title,
        module_id=module_id,
        required=lesson.required,
        completed_learners=completed,
        completion_basis_points=basis_points,
    )


def _current_course(model: CurrentCourse) -> learning_pb2.CurrentCourse:
    lesson = model.next_lesson
    return learning_pb2.CurrentCourse(
        enrollment=enrollment(model.enrollment),
        next_lesson_id=lesson.id if lesson else "",
        next_lesson_title=lesson.title if lesson else "",
        last_activity_time=timestamp(model.last_activity_time),
    )
