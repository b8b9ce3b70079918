"""A web client in a real browser, over the JSON API alone: from an origin that CORS allows, and from another."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from uuid import uuid4

from playwright.async_api import expect

from tests.support.browser import browsing
from tests.support.people import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.async_api import ConsoleMessage, Page

    from tests.support.system import LocalSystem

EXAMPLE = Path(__file__).parents[2] / "examples/web"
ALLOWED, REFUSED = "127.0.0.1", "127.0.0.2"
"""In development CORS allows the first, which is `localhost`, and not the second."""
COURSE = "Python Programming Basics"
REQUIRED_LESSONS = 6
EXPIRED_ONCE = """
const original = fetch;
let expired = false;
window.fetch = async (url, request) => {
  if (expired || !url.endsWith("/v1/wallet")) return original(url, request);
  expired = true;
  const details = [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", reason: "TOKEN_EXPIRED" }];
  return Response.json({ code: 16, message: "The access token has expired.", details }, { status: 401 });
};
"""
"""Lets the first call for the wallet find the access token expired."""


class _Pages(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - The base class's name.
        pass


@contextmanager
def hosted(address: str, api: str, folder: Path) -> Iterator[str]:
    """Serve the page from an address, calling this API. Give its origin."""
    shutil.copytree(EXAMPLE, folder / address)
    index = folder / address / "index.html"
    index.write_text(index.read_text().replace("http://localhost:8080", api))
    with ThreadingHTTPServer((address, 0), partial(_Pages, directory=folder / address)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


async def test_a_learner_studies_and_a_stranger_checks_the_certificate(
    system: LocalSystem, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    email = f"{uuid4()}@azora.world"
    body = {"email": email, "password": PASSWORD, "name": "Wanda Web"}
    assert (await http.post("/v1/auth/register", json=body)).status_code == 200
    with hosted(ALLOWED, system.edge, tmp_path) as origin:
        async with browsing() as seen:
            page = seen.page
            await page.add_init_script(EXPIRED_ONCE)
            await page.goto(origin)
            await sign_in(page, email)
            await expect(page.locator("#user")).to_have_text("Wanda Web")
            await expect(page.locator("#wallet")).to_have_text("AZR 0.00")
            assert f"{system.edge}/v1/auth/refresh" in seen.requested
            await page.locator("#courses li", has_text=COURSE).get_by_role("button", name="Enrol").click()
            for completed in range(REQUIRED_LESSONS):
                progress = f"{completed} of {REQUIRED_LESSONS} required lessons"
                await expect(page.locator("#progress-text")).to_have_text(progress)
                await page.get_by_role("button", name="Complete").first.click()
                await expect(page.locator(".completed")).to_have_count(completed + 1)
            await expect(page.locator("#wallet")).to_have_text("AZR 50.00")
            await page.screenshot(path=tmp_path / "learner.png", full_page=True)
            certificate = await page.get_by_role("link", name=COURSE).get_attribute("href")
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
            assert seen.complaints == []
            assert [url for url in seen.outside(origin) if not url.startswith(f"{system.edge}/")] == []
        async with browsing() as stranger:
            await stranger.page.goto(f"{origin}/{certificate}")
            verdict = f"Valid: Wanda Web completed “{COURSE}” on "
            await expect(stranger.page.locator("#verdict")).to_contain_text(verdict)
            assert stranger.complaints == []


async def test_an_origin_that_cors_does_not_allow_learns_nothing(system: LocalSystem, tmp_path: Path) -> None:
    with hosted(REFUSED, system.edge, tmp_path) as origin:
        async with browsing() as seen:
            page = seen.page
            error = page.get_by_text(f"No response from {system.edge}.")
            async with page.expect_console_message(
                _is_cors
            ):  # Without a preflight: the response is kept from the page.
                await page.goto(f"{origin}/#{uuid4()}")
            await expect(error).to_be_visible()
            async with page.expect_console_message(_is_cors):
                await sign_in(page, "student@azora.world", "Student@2024!")
            await expect(error).to_be_visible()
            await expect(page.locator("#signed-in")).to_be_hidden()


def _is_cors(message: ConsoleMessage) -> bool:
    return "has been blocked by CORS policy" in message.text
