"""Deletion of accounts: every service erases what it keeps of the user."""
