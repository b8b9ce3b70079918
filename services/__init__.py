"""The services of the mesh, the gateway, and the one-command local system."""
