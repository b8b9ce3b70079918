"""Where processes listen."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.local import addresses
from services.local.addresses import Addresses, choose_ports
from services.local.errors import NoFreePorts
from services.local.layout import Layout
from services.local.probes import accepts
from services.local.system import listeners
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Layout(Path("/home/azora"), Path("/tmp/azora"))


@pytest.fixture
def taken() -> Iterator[int]:
    """Give a port that something listens on."""
    with socket.create_server(("127.0.0.1", free_port())) as other:
        yield other.getsockname()[1]


def test_without_ports_all_is_on_unix_sockets() -> None:
    here = Addresses(HERE)
    assert here.listen("payment", 1) == here.target("payment", 1) == "unix:/tmp/azora/payment-1.sock"


def test_with_ports_clients_use_the_name_that_certificates_have() -> None:
    here = Addresses(HERE, {"payment": 20_001, "payment-1": 20_002})
    assert (here.listen("payment", 1), here.target("payment", 1)) == ("127.0.0.1:20002", "localhost:20002")
    assert here.listen("admin") == "unix:/tmp/azora/admin.sock"


def test_every_replica_and_the_internal_listener_have_a_port_of_their_own(tmp_path: Path, taken: int) -> None:
    names = listeners(("auth", "payment"), {"payment": 2})
    assert names == ["auth", "payment", "payment-1", "gateway", "gateway-http", "mesh"]
    ports = choose_ports(tmp_path, names)
    assert list(ports) == names
    assert len(set(ports.values())) == len(names)
    assert taken not in ports.values()


def test_too_few_free_ports_are_told(tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PORTS", range(taken, taken + 1))
    with pytest.raises(NoFreePorts, match=f"from {taken} to {taken}"):
        choose_ports(tmp_path, ["auth"])


async def test_a_listener_is_found_by_either_kind_of_address(tmp_path: Path, taken: int) -> None:
    assert await accepts(f"127.0.0.1:{taken}")
    assert not await accepts(f"127.0.0.1:{free_port()}")
    assert not await accepts(f"unix:{tmp_path}/none.sock")
