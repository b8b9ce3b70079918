"""What hurts a system with two replicas of each service."""
