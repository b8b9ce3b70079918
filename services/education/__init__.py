"""Education: courses, enrolments, progress."""
