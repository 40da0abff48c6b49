"""Keys in a browser."""

import pytest
from playwright.async_api import expect

from tests.app.acts import post
from tests.app.routes.test_keys import make_key
from tests.app.web.browsing import page_of

pytestmark = pytest.mark.anyio


async def log_in(page, headers):
    await page.get_by_label("API key").fill(headers["Authorization"].removeprefix("Bearer "))
    await page.get_by_role("button", name="Log in").click()


async def test_a_shared_link_leads_through_the_login_to_what_was_shared(live, visit):
    _, submitter = await make_key(live.app, "submit")
    benchmark = await post(live, **submitter)
    _, headers = await make_key(live.app, "read")
    page = await visit(f"{live.base_url}{page_of(benchmark)}")
    await log_in(page, {"Authorization": "Bearer ht_wrong"})
    await expect(page.get_by_role("alert")).to_contain_text("Malformed API key")
    await log_in(page, headers)
    await page.wait_for_url(f"**{page_of(benchmark)}")
    await expect(page.locator("#waiting")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await page.goto(f"{live.base_url}{page_of(benchmark)}")
    await expect(page.get_by_label("API key")).to_be_visible()


async def test_a_page_whose_key_is_gone_says_that_it_is_no_longer_live(live, visit):
    _, headers = await make_key(live.app, "read")
    page = await visit(f"{live.base_url}/")
    await log_in(page, headers)
    await expect(page.get_by_role("heading", name="Benchmarks", level=1)).to_be_visible()
    await expect(page.locator("#stale")).to_be_hidden()
    await page.context.clear_cookies()
    await expect(page.locator("#stale")).to_be_visible(timeout=30_000)


async def test_a_key_that_may_submit_makes_a_benchmark_in_the_form(live, visit):
    _, headers = await make_key(live.app, "submit")
    page = await visit(f"{live.base_url}/ui/new")
    await log_in(page, headers)
    await page.get_by_role("button", name="Start benchmark").click()
    await page.wait_for_url("**/ui/benchmarks/*")


async def test_a_key_that_may_only_read_is_told_what_it_needs(live, visit):
    _, headers = await make_key(live.app, "read")
    page = await visit(f"{live.base_url}/ui/new")
    await log_in(page, headers)
    await expect(page.get_by_text("the required scope submit")).to_be_visible()
