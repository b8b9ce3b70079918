"""Settling paid enrolments with Payment: enrolled and paid, or neither; refunded or completed, never both."""
