"""Proof of the ledger: verification of its chains and balances, and signed checkpoints."""
