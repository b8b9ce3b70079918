"""Compiles the contract into what enforces it outside the services: Envoy's bootstrap, the clients' service config.

    profile = local(LocalSettings(runtime=Path("/run/azora"), pki=Path("/var/azora/pki")))
    write_bootstrap(profile, Path("/var/azora/envoy.json"))

`python -m services.gateway.compiler` writes what is committed.
"""

from services.gateway.compiler.bootstrap import compile_bootstrap, write_bootstrap
from services.gateway.compiler.profiles import (
    Address,
    Certificate,
    LocalSettings,
    Pipe,
    Profile,
    ProfileError,
    Tcp,
    compose,
    local,
    socket_path,
)

__all__ = [
    "Address",
    "Certificate",
    "LocalSettings",
    "Pipe",
    "Profile",
    "ProfileError",
    "Tcp",
    "compile_bootstrap",
    "compose",
    "local",
    "socket_path",
    "write_bootstrap",
]
