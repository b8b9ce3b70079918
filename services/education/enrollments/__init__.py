"""Taking courses: enrolling, completing lessons, progress."""
