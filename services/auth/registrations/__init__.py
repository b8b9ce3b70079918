"""Registrations that wait for their e-mail address to be verified."""
