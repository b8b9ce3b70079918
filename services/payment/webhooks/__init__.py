"""Webhooks: events sent to URLs of users and of the platform."""
