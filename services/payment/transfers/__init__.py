"""Transfers between the wallets of users, one at a time or in batches."""
