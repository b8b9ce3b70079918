"""Learning at a glance: figures of a course, and a learner's overview."""
