"""What the catalogue finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.education.courses.model import Course


@dataclass(frozen=True, slots=True)
class FoundCourse:
    """A course, and its place in the order that was asked for."""

    course: Course
    place: tuple[str | int, ...]
