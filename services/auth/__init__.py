"""Auth: accounts, sign-in, sessions, and the keys that access tokens are signed with."""
