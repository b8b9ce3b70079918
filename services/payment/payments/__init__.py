"""Payments, their refunds, and earning."""
