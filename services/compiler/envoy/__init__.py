"""Compiles the contract into Envoy's bootstrap, for each deployment's profile.

profile = local(LocalSettings(runtime=Path("/run/azora"), pki=Path("/var/azora/pki")))
write_bootstrap(profile, Path("/var/azora/envoy.json"))
"""

from services.compiler.envoy.bootstrap import compile_bootstrap, write_bootstrap
from services.compiler.envoy.discovery import discovery_files, endpoints
from services.compiler.envoy.profiles import (
    Address,
    Certificate,
    LocalSettings,
    Pipe,
    Profile,
    ProfileError,
    Tcp,
    compose,
    kubernetes,
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
    "discovery_files",
    "endpoints",
    "kubernetes",
    "local",
    "socket_path",
    "write_bootstrap",
]
