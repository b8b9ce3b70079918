"""Revocations: everything that ends access tokens before they expire, told to all services."""
