"""Sessions, and the refresh tokens that prolong them."""
