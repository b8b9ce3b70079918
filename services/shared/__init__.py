"""What the services share. No business rule lives here, and nothing here knows a particular service."""
