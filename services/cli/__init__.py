"""The command line `azora`, and the page of all settings."""
