"""The one-command system: `azora up` and what it needs."""
