"""Payment: wallets, payments, refunds, holds and the ledger under them."""
