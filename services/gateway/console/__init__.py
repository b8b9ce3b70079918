"""The console of a development system: its data, and its page."""
