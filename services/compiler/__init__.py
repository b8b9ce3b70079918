"""Compiles the contract into what enforces it outside the services: `python -m services.compiler` writes it."""
