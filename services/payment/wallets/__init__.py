"""Wallets: what people have, and how it came and went."""
