"""Figures of courses for their educators, and overviews for learners."""
