"""People who use a running system: they register and sign in through its edge."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.support.smtp import LINK
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import httpx

PASSWORD = "a long walk to the library"


@dataclass(frozen=True, slots=True)
class People:
    """Makes signed-in people; each comes as the headers of their calls."""

    http: httpx.AsyncClient

    async def student(self) -> dict[str, str]:
        """Register a new student."""
        body = {"email": f"{uuid4()}@azora.world", "password": PASSWORD, "name": "Thandi Test"}
        response = await self.http.post("/v1/auth/register", json=body)
        assert response.status_code == 200, response.text
        return {"authorization": f"Bearer {response.json()['accessToken']}"}

    async def students(self, count: int) -> list[dict[str, str]]:
        """Register new students, all at once."""
        return await asyncio.gather(*(self.student() for _ in range(count)))

    async def admin(self) -> dict[str, str]:
        """Sign in the seeded administrator."""
        return await self._login("admin@azora.world", "Admin@2024!")

    async def educator(self) -> dict[str, str]:
        """Sign in the seeded educator."""
        return await self._login("educator@azora.world", "Educator@2024!")

    async def fund(self, person: dict[str, str], minor_units: int, *, admin: dict[str, str]) -> str:
        """Have the administrator grant a person AZR; return the person's ID."""
        profile = await self.http.get("/v1/auth/profile", headers=person)
        user_id = str(profile.json()["user"]["id"])
        amount = {"minorUnits": str(minor_units), "currency": "AZR"}
        body = {"userId": user_id, "amount": amount, "reference": str(uuid4()), "description": "Funds"}
        granted = await self.http.post("/v1/earn", json=body, headers=admin)
        assert granted.status_code == 200, granted.text
        return user_id

    async def link_token(self, address: str, kind: str) -> str:
        """Wait for a mail of a kind to an address, and return the token of its link."""
        admin = await self.admin()

        async def arrived() -> str:
            page = await self.http.get("/v1/mail/messages", headers=admin, params={"pageSize": 100})
            mails = page.json()["messages"]
            return next((mail["text"] for mail in mails if (mail["address"], mail["kind"]) == (address, kind)), "")

        found = LINK.search(await eventually(arrived))
        assert found is not None
        return found[1]

    async def _login(self, email: str, password: str) -> dict[str, str]:
        response = await self.http.post("/v1/auth/login", json={"email": email, "password": password})
        assert response.status_code == 200, response.text
        return {"authorization": f"Bearer {response.json()['accessToken']}"}
