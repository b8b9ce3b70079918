"""Password rules, hashing and verification."""
