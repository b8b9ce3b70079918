"""The data of the console over the real mesh: for administrators, and of all services."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.compiler.contract import load_contract
from tests.support.services import SERVICES
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx

    from tests.support.people import People
    from tests.support.system import LocalSystem

PATHS = ("mesh", "traces", "policies", "backgroundWork")


@pytest.mark.parametrize("path", PATHS)
async def test_the_console_is_read_by_administrators_alone(http: httpx.AsyncClient, people: People, path: str) -> None:
    url = f"/v1/console/{path}"
    assert (await http.get(url)).status_code == 401
    assert (await http.get(url, headers=await people.student())).status_code == 403
    assert (await http.get(url, headers=await people.admin())).status_code == 200


async def test_a_session_that_ended_reads_nothing_more(http: httpx.AsyncClient, people: People) -> None:
    admin = await people.admin()
    assert (await http.get("/v1/console/mesh", headers=admin)).status_code == 200
    await http.post("/v1/auth/logout", headers=admin, json={})

    async def refused() -> bool:
        return (await http.get("/v1/console/mesh", headers=admin)).status_code == 401

    await eventually(refused, within_seconds=15)


async def test_what_services_do_is_seen(http: httpx.AsyncClient, people: People, system: LocalSystem) -> None:
    admin = await people.admin()
    work = (await http.get("/v1/console/backgroundWork", headers=admin)).json()
    assert [each["service"] for each in work["services"]] == list(SERVICES)
    assert work["unreachable"] == []
    policies = (await http.get("/v1/console/policies", headers=admin)).json()["policies"]
    assert len(policies) == sum(len(service.methods) for service in load_contract().declared)

    async def sampled() -> bool:
        await http.get("/v1/wallet", headers=admin)
        mesh = (await http.get("/v1/console/mesh", headers=admin)).json()
        assert [service["name"] for service in mesh["services"]] == [*SERVICES, "gateway"]
        return "azora.payment.v1.WalletService/GetWallet" in {series["method"] for series in mesh["methods"]}

    await eventually(sampled, within_seconds=30)
    traces = (await http.get("/v1/console/traces", headers=admin)).json()
    assert traces == {"traces": [], "otlpEndpoint": system.environment["AZORA_OTLP_ENDPOINT"]}
    assert (await http.get(f"/v1/console/traces/{'0' * 32}", headers=admin)).json()["details"][0]["reason"] == (
        "TRACE_NOT_FOUND"
    )
