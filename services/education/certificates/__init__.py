"""Certificates: what completing a course earns, for anyone to verify."""
