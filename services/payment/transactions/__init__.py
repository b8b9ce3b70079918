"""The transactions of a wallet: lists, watches and statements."""
