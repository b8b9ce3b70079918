"""Certificates that are not what they should be: no caller gets in with one, and no service is asked that shows one."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from grpc import aio

from services.compiler.envoy import Tcp, endpoints
from services.compiler.envoy.discovery import file_name
from services.deployment.files import write_private
from services.deployment.pki import ensure_pki
from services.local.envoy import admin_client
from services.shared.limits import FIRST_BYTES_SECONDS
from services.shared.principal import TRUST_DOMAIN
from tests.support.certificates import issue
from tests.support.edge import Replica
from tests.support.http import plain_http
from tests.support.ports import free_port
from tests.support.tcp_mesh import LOOPBACK, running_tcp_mesh, serving
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.compiler.envoy import Address
    from tests.support.tcp_mesh import TcpMesh

pytestmark = pytest.mark.asyncio(loop_scope="module")

JWKS = "/azora.auth.v1.TokenService/GetJwks"
HOLD = "/azora.payment.v1.PaymentService/CreateHold"
DAY_SECONDS = 86_400
BAD = ["another authority's", "expired", "another trust domain's", "no service's", "a user's own"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh() -> AsyncIterator[TcpMesh]:
    async with running_tcp_mesh() as running:
        yield running


@pytest.fixture
def shown(mesh: TcpMesh, tmp_path: Path) -> Path:
    """Give a folder of the certificates that are shown, each the best that its owner could get."""
    ensure_pki(tmp_path / "other")
    for name in ("envoy", "education"):
        shutil.copy(tmp_path / f"other/{name}.crt", tmp_path / f"{BAD[0]}-{name}.crt")
        shutil.copy(tmp_path / f"other/{name}.key", tmp_path / f"{BAD[0]}-{name}.key")
        own = f"{TRUST_DOMAIN}/{name}"
        for kind, identity, dns, life_seconds in (
            (BAD[1], own, "localhost", -DAY_SECONDS),
            (BAD[2], f"spiffe://evil.local/ns/default/sa/{name}", "localhost", DAY_SECONDS),
            (BAD[3], f"{TRUST_DOMAIN}/none", name, DAY_SECONDS),
            (BAD[4], f"https://azora.local/{name}", "localhost", DAY_SECONDS),
        ):
            issue(mesh.pki, tmp_path, f"{kind}-{name}", identity=identity, dns=(dns,), life_seconds=life_seconds)
    return tmp_path


@pytest.mark.parametrize("kind", BAD)
async def test_the_internal_listener_refuses_it(mesh: TcpMesh, shown: Path, kind: str) -> None:
    await eventually(mesh.awake)  # The services' event loop stood still while keys were made.
    async with mesh.channel(mesh.mesh, f"{kind}-education", pki=shown) as channel:
        known = kind == "no service's"  # To the authority; so it is the policy's verdict that is waited for.
        code = await code_of(channel, HOLD, wait_for_ready=known)
    assert code == ("PERMISSION_DENIED" if known else "UNAVAILABLE")


@pytest.mark.parametrize("kind", BAD)
async def test_a_service_refuses_it(mesh: TcpMesh, shown: Path, kind: str) -> None:
    async with mesh.channel(mesh.service("auth"), f"{kind}-envoy", server="auth", pki=shown) as channel:
        code = await code_of(channel, JWKS)
    assert code == ("UNAVAILABLE" if kind in BAD[:2] else "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (BAD[0], "fail_verify_error"),
        (BAD[1], "fail_verify_error"),
        (BAD[2], "fail_verify_san"),
        ("", "fail_verify_san"),
    ],
)
async def test_envoy_asks_no_service_that_shows_it(mesh: TcpMesh, shown: Path, kind: str, why: str) -> None:
    """Education's certificate is good, but it is not Payment's."""
    impostor, at = Replica(mesh.signer, guarded=True), Tcp(LOOPBACK, free_port())
    certificate = shown / f"{kind}-education" if kind else mesh.pki / "education"
    before = await refused(mesh, why)
    async with (
        serving(mesh, "payment", impostor, at, certificate),
        plain_http(f"http://{mesh.edge}") as http,
    ):
        tell(mesh, at)

        async def is_refused() -> bool:
            return await refused(mesh, why) > before

        async def answers(status: int) -> bool:
            headers = {"authorization": f"Bearer {mesh.signer.token()}"}
            return (await http.get("/v1/wallet", headers=headers)).status_code == status

        await eventually(is_refused)
        assert await answers(503)
        assert not impostor.received
        tell(mesh, mesh.profile.upstreams["payment"][0])
        await eventually(lambda: answers(200))


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00"], ids=["nothing", "half a greeting"])
async def test_who_shows_none_keeps_no_connection(mesh: TcpMesh, sent: bytes) -> None:
    """Or anyone on the network could take every descriptor of Envoy, of its public port too, and of the services."""

    async def ended(at: str) -> bytes:
        host, _, port = at.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(sent)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()

    await asyncio.wait_for(asyncio.gather(ended(mesh.mesh), ended(mesh.service("auth"))), FIRST_BYTES_SECONDS + 5)


def tell(mesh: TcpMesh, at: Address) -> None:
    """Tell Envoy where Payment is."""
    write_private(Path(mesh.profile.discovery) / file_name("payment"), endpoints("payment", [at]).encode())


async def refused(mesh: TcpMesh, why: str) -> int:
    """Return how many certificates of Payment Envoy has refused for a reason."""
    async with admin_client(Path(mesh.profile.admin.path)) as admin:
        answer = await admin.get("/stats", params={"filter": f"^cluster.payment.ssl.{why}$", "format": "json"})
    return sum(stat["value"] for stat in answer.json()["stats"] if "value" in stat)


async def code_of(channel: aio.Channel, path: str, *, wait_for_ready: bool = False) -> str:
    """Make a call that is to be refused, and return the name of its status."""
    try:
        await channel.unary_unary(path)(b"", timeout=10, wait_for_ready=wait_for_ready)  # type: ignore[arg-type]
    except aio.AioRpcError as error:
        print(error.debug_error_string())  # noqa: T201 - shown when the test fails
        return error.code().name
    return "OK"
