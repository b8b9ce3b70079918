"""Failed attempts to authenticate, counted over all replicas, and the waits that follow them."""
