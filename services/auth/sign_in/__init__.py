"""Signing in and out: sessions from passwords and refresh tokens."""
