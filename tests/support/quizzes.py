"""Quizzes for tests."""

from __future__ import annotations

from typing import Any

from azora.education.v1 import course_pb2, course_service_pb2


def quiz(**changes: Any) -> course_pb2.Quiz:
    """Return a quiz with one question of every kind."""
    question, option = course_pb2.QuizQuestion, course_pb2.QuizOption
    fields: dict[str, Any] = {
        "questions": [
            question(
                prompt="Which flour has most bran?",
                options=[option(text="Rye", correct=True), option(text="Wheat")],
                explanation="Rye has.",
            ),
            question(
                kind=course_pb2.QUESTION_KIND_MULTIPLE_CHOICE,
                prompt="What is in a sourdough?",
                options=[option(text="Flour", correct=True), option(text="Water", correct=True), option(text="Sugar")],
                points=2,
            ),
            question(
                kind=course_pb2.QUESTION_KIND_SHORT_TEXT,
                prompt="How warm is the oven?",
                accepted_answers=["250", "hot"],
            ),
        ],
        "pass_basis_points": 5000,
    }
    return course_pb2.Quiz(**fields | changes)


def quiz_lesson(**changes: Any) -> course_service_pb2.NewLesson:
    """Return a lesson with a quiz."""
    return course_service_pb2.NewLesson(title="Test", kind=course_pb2.LESSON_KIND_QUIZ, quiz=quiz(**changes))
