"""Changing a password, and setting a new one by mail."""
