"""Confirmation of a signed-in user's change by password and, with a second factor, a code (OWASP ASVS 7.5.1)."""
