"""What other services tell Payment."""
