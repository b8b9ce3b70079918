"""API keys of users: long-lived credentials of programs, exchanged for access tokens with their scopes."""
