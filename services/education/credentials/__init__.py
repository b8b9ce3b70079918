"""Credentials: certificates as signed Open Badges 3.0 credentials, and what verifies them."""
