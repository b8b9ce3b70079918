"""The gateway: the compiler of what Envoy runs, and a small process for what Envoy cannot do itself."""
