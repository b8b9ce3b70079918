"""The API explorer in a real browser: it signs in, tries calls, complains about nothing and asks nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playwright.async_api import expect

from tests.support.browser import browsing

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Locator, Page

    from tests.support.system import LocalSystem


def block(page: Page, operation_id: str) -> Locator:
    return page.locator(f"[id$='-{operation_id}']")


async def execute(page: Page, operation_id: str) -> dict[str, Any]:
    """Open an operation, execute it, and return its answer."""
    operation = block(page, operation_id)
    await operation.locator(".opblock-summary-control").click()
    async with page.expect_response(lambda answer: "/v1/" in answer.url) as answered:
        await operation.locator("button.execute").click()
    await expect(operation.locator(".live-responses-table .response-col_status").first).to_be_visible()
    answer = await answered.value
    return {"status": answer.status, "body": await answer.json(), "request": answer.request}


async def test_a_developer_signs_in_with_one_click_and_tries_calls(system: LocalSystem, tmp_path: Path) -> None:
    async with browsing() as seen:
        page = seen.page
        await page.goto(f"{system.edge}/docs")
        await page.locator("#accounts button", has_text="Student").click()
        await expect(page.locator("#session")).to_have_text("Signed in as Sam Student (student@azora.world)")
        await page.locator("[id='operations-tag-WalletService'] button").first.wait_for()
        await page.locator("[id='operations-tag-WalletService']").click()
        wallet = await execute(page, "WalletService_GetWallet")
        assert wallet["status"] == 200
        assert wallet["body"]["wallet"]["balances"][0]["currency"] == "AZR"
        watch = block(page, "WalletService_WatchTransactions")
        await watch.locator(".opblock-summary-control").click()
        await expect(watch.locator(".responses-wrapper").first).to_be_visible()
        await expect(watch.locator("button.execute")).to_have_count(0)
        await page.screenshot(path=tmp_path / "explorer.png", full_page=False)
        async with page.expect_response("**/v1/auth/logout") as ended:
            await page.locator("#sign-out").click()
        assert (await ended.value).status == 200
        await expect(page.locator("#session")).to_have_text("Not signed in")
        assert seen.complaints == []
        assert seen.outside(system.edge) == []


async def test_every_call_can_be_tried(system: LocalSystem) -> None:
    async with browsing() as seen:
        page = seen.page
        await page.goto(f"{system.edge}/docs")
        document = await (await page.request.get(f"{system.edge}/openapi.json")).json()
        tryable = await page.evaluate(
            """(operations) => operations.filter(([path, verb]) =>
                ui.specSelectors.allowTryItOutFor(path, verb)).map(([, , id]) => id)""",
            [
                [path, verb, operation["operationId"]]
                for path, item in document["paths"].items()
                for verb, operation in item.items()
            ],
        )
        watches = {
            operation["operationId"]
            for item in document["paths"].values()
            for operation in item.values()
            if operation["x-azora-policy"]["watch"]
        }
        operations = {operation["operationId"] for item in document["paths"].values() for operation in item.values()}
        assert set(tryable) == operations - watches
