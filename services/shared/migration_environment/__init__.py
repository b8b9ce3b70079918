"""Alembic's script location, common to the migrations of all services."""
