"""The catalogue: writing, publishing and reading courses."""
