"""What requests cost: a load harness, and the peers that it measures beside the system in the same run."""
