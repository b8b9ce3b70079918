"""What other services tell Education."""
