"""Verifying and changing e-mail addresses."""
