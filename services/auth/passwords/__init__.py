"""Passwords: which are refused, how they are kept, how they are checked."""
