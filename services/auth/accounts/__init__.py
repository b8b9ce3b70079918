"""Accounts: their creation, one's own profile."""
