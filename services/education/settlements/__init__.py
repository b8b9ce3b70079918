"""Bringing paid enrolments to their end: enrolled and paid, or neither."""
