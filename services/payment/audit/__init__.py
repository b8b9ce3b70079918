"""Audit events of commands of the ledger, written with what they decided."""
