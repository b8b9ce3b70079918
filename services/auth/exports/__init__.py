"""Export of all that the services keep of a user."""
