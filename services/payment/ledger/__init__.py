"""The double-entry ledger: accounts, transactions, entries, and the proof that money is conserved."""
