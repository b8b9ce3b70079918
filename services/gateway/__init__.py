"""The gateway: a small process for what Envoy cannot do itself."""
