"""The console in a real browser: by keyboard, in light and dark, on a phone; it complains about nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.async_api import expect

from tests.support.browser import browsing
from tests.support.http import plain_http
from tests.support.people import People

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

    from tests.support.system import LocalSystem

PHONE: Any = {"width": 390, "height": 844}
SCHEMES: tuple[Any, ...] = ("light", "dark")
SHOWN = {
    "mesh": ".cards .badge.good",
    "requests": "tbody tr",
    "policies": "tbody tr",
    "work": ".counts",
    "mails": ".row",
    "ledger": "h3 .badge.good",
}
"""What each view shows once its data are there."""


async def sign_in(page: Page, edge: str) -> None:
    await page.goto(f"{edge}/console")
    await page.locator("#sign-in").press("Enter")
    await expect(page.locator("#session")).to_have_text("admin@azora.world")


async def used(system: LocalSystem) -> None:
    """Enrol somebody, and have a mail sent."""
    async with plain_http(system.edge, timeout=60) as http:
        student = await People(http).student()
        courses = (await http.get("/v1/courses")).json()["courses"]
        (free,) = (course for course in courses if course["price"]["minorUnits"] == "0")
        enrolled = await http.post(f"/v1/courses/{free['id']}/enroll", json={}, headers=student)
        assert enrolled.status_code == 200, enrolled.text
        email = {"email": "student@azora.world"}
        assert (await http.post("/v1/auth/password:requestReset", json=email)).status_code == 200


async def test_an_administrator_looks_at_everything_by_keyboard(system: LocalSystem, tmp_path: Path) -> None:
    await used(system)
    async with browsing() as seen:
        page = seen.page
        await sign_in(page, system.edge)
        for key, (view, shown) in enumerate(SHOWN.items(), 1):
            await page.keyboard.press(str(key))
            await expect(page.locator(f"main#{view} {shown}").first).to_be_visible()
            await page.screenshot(path=tmp_path / f"{view}.png")
        await page.keyboard.press("1")
        await expect(page.locator("main#mesh .methods .method polyline").first).to_be_attached()
        await page.keyboard.press("6")
        await page.locator("main button", has_text="Verify").press("Enter")
        await expect(page.locator("main p[role=status] .badge.good")).to_have_text("intact")
        await page.keyboard.press("3")
        await page.keyboard.press("/")
        await page.keyboard.type("GetWallet")
        await expect(page.locator("main#policies .dense tbody tr")).to_have_count(1)
        await page.locator("#sign-out").press("Enter")
        await expect(page.locator("#sign-in")).to_be_visible()
        assert seen.complaints == []
        assert seen.outside(system.edge) == []


async def test_a_request_is_seen_through_the_edge_services_and_database(system: LocalSystem, tmp_path: Path) -> None:
    await used(system)
    async with browsing() as seen:
        page = seen.page
        await sign_in(page, system.edge)
        grounds = []
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            grounds.append(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(set(grounds)) == len(SCHEMES)
        await page.goto(f"{system.edge}/console#requests")
        request = page.locator("tr", has_text="EnrollmentService.Enroll").first
        await expect(request.locator("td", has_text="envoy → education")).to_be_visible()
        await request.locator("a").press("Enter")
        statement = page.locator(".waterfall .row", has_text="INSERT education").first
        await statement.locator("summary").press("Enter")
        await expect(statement.locator("pre")).to_contain_text("INSERT INTO")
        await page.screenshot(path=tmp_path / "trace-dark.png")
        await page.set_viewport_size(PHONE)
        for key, (view, shown) in enumerate(SHOWN.items(), 1):
            await page.keyboard.press(str(key))
            await expect(page.locator(f"main#{view} {shown}").first).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], view
            await page.screenshot(path=tmp_path / f"phone-{view}.png")
        own = page.locator("main#requests tbody", has_text="ConsoleService")
        await page.keyboard.press("2")
        await expect(own).to_have_count(0)
        assert seen.complaints == []
        assert seen.outside(system.edge) == []
