"""The end of an erased person's wallet."""
