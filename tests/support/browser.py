"""A headless Chromium that keeps what pages complain about and ask for."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright, expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import ConsoleMessage, Page, Request

COMPLAINTS = ("error", "warning")
WIDTH, HEIGHT = 1280, 900
MOST_MILLISECONDS = 60_000
"""For a page to do what is expected of it, however busy the machine is."""


@dataclass
class Seen:
    """A page, and what it has done so far."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of its console, and exceptions."""
    requested: list[str] = field(default_factory=list)
    """URLs of all requests, without those of the page's own data."""

    def outside(self, origin: str) -> list[str]:
        """Return the requests that went elsewhere."""
        return [url for url in self.requested if not url.startswith((f"{origin}/", "data:"))]

    def note_message(self, message: ConsoleMessage) -> None:
        """Keep a message of the console that is a complaint."""
        if message.type in COMPLAINTS:
            self.complaints.append(message.text)

    def note_request(self, request: Request) -> None:
        """Keep a request."""
        self.requested.append(request.url)


@asynccontextmanager
async def browsing() -> AsyncIterator[Seen]:
    """Open an empty page in a browser of its own."""
    executable = shutil.which("chromium")
    assert executable, "this test needs Chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(MOST_MILLISECONDS)
        expect.set_options(timeout=MOST_MILLISECONDS)
        seen = Seen(page)
        page.on("console", seen.note_message)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("request", seen.note_request)
        try:
            yield seen
        finally:
            await browser.close()
