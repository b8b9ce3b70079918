"""Confirmation of a signed-in user's change by the password (OWASP ASVS 7.5.1)."""
