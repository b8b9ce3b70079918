"""Finding published courses: pages with filters and orders, and full-text search."""
