"""Where processes listen: on unix sockets of this user, or over TCP on the loopback interface with mutual TLS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.local.doctor import is_free
from services.local.errors import NoFreePorts
from services.local.layout import fingerprint, replica_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.local.layout import Layout

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of one system: TCP for what has a port, unix sockets for the rest."""

    layout: Layout
    ports: Mapping[str, int] = field(default_factory=dict)
    """Ports by replica name."""

    def listen(self, name: str, replica: int = 0) -> str:
        """Return where a replica listens, and where Envoy finds it: `unix:/run/x.sock` or `127.0.0.1:20001`."""
        port = self.ports.get(replica_name(name, replica))
        return f"{LOOPBACK}:{port}" if port else f"unix:{self.layout.socket(name, replica)}"

    def target(self, name: str, replica: int = 0) -> str:
        """Return the gRPC target of a replica; over TCP by the host name that certificates have."""
        return self.listen(name, replica).replace(f"{LOOPBACK}:", "localhost:")


def choose_ports(home: Path, names: Sequence[str]) -> dict[str, int]:
    """Return a free port for each name, from a place in the range that depends on the home. Raises NoFreePorts."""
    first = int(fingerprint(home), 16) % len(PORTS)
    free = (port for port in (*PORTS[first:], *PORTS[:first]) if is_free(port))
    chosen = dict(zip(names, free, strict=False))
    if len(chosen) < len(names):
        raise NoFreePorts(first=PORTS.start, last=PORTS.stop - 1)
    return chosen
