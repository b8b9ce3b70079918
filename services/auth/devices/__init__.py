"""Known devices: where a user has signed in before, and may try a password whoever else is guessing."""
