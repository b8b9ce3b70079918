"""Signing keys of access tokens: rotation and revocation."""
