"""The page of the workers, while it is kept in step with the server."""

import pytest
from playwright.async_api import expect

from tests.app.acts import EMULATED, register

pytestmark = pytest.mark.anyio


async def test_a_remedy_that_was_opened_stays_open_when_the_fleet_changes(live, visit):
    await register(live, precisions=EMULATED)
    page = await visit(f"{live.base_url}/ui/workers")
    remedy = page.get_by_text("The device has no bf16 arithmetic")
    await expect(remedy).to_be_hidden()
    await page.get_by_text("Emulated and missing precisions").press("Enter")
    await expect(remedy).to_be_visible()
    await register(live, worker_id="other:cpu")
    await expect(page.get_by_text("other:cpu")).to_be_visible()
    await expect(remedy).to_be_visible()
    await expect(page.get_by_text("Emulated and missing precisions")).to_be_focused()
