"""Wallets: balances and transaction history."""
