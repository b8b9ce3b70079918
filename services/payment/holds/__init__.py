"""Holds: reserved amounts, to be captured or released."""
