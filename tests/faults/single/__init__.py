"""What hurts a system with one process of each service."""
