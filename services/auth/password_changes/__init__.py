"""Changing a password, and resetting it by mail."""
