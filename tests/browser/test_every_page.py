"""What holds for every page in a browser: reach for everyone, phones included."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.app.routes.test_keys import make_key
from tests.app.web.browsing import every_page, page_of
from tests.browser.scenes import SCENES

pytestmark = pytest.mark.anyio

#: Narrow, as small phones are.
NARROW = {"width": 360, "height": 740}

#: In dark mode only colours differ.
RULES = {"light": {}, "dark": {"runOnly": ["color-contrast", "link-in-text-block"]}}


async def all_pages(live):
    """An address of every page: the list with the longest verdict, a report that must not be used, and a problem."""
    ended = [page_of(await SCENES[verdict](live)) for verdict in ("fail", "invalid")]
    made = await every_page(live)
    return [f"{live.base_url}{path}" for path in [*made, *ended, "/ui/new", "/ui/new?example=bert", "/ui/nothing"]]


async def serious_faults(page, **options):
    found = await Axe().run(page, options={"resultTypes": ["violations"]} | options)
    return [
        f"{page.url}: {fault['id']} at {node['target']}"
        for fault in found.response["violations"]
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]


async def test_axe_finds_nothing_serious_in_light_or_dark(live, visit):
    addresses = await all_pages(live)
    page = await visit(addresses[0])
    faults = []
    for address in [*addresses, f"{live.base_url}/ui/login"]:
        if address.endswith("/ui/login"):
            await make_key(live.app, "read")
        await page.goto(address)
        for mode, rules in RULES.items():
            await page.emulate_media(color_scheme=mode)
            faults += await serious_faults(page, **rules)
    assert faults == []


async def test_nothing_is_wider_than_a_phone(live, visit):
    addresses = await all_pages(live)
    page = await visit(addresses[0], viewport=NARROW)
    widths = {}
    for address in addresses:
        await page.goto(address)
        for details in await page.locator("details").all():
            await details.evaluate("one => one.open = true")
        widths[address] = await page.evaluate("document.documentElement.scrollWidth")
    assert {address: width for address, width in widths.items() if width > NARROW["width"]} == {}


async def test_the_keyboard_skips_to_the_content_and_reaches_every_page(live, visit):
    page = await visit(f"{live.base_url}/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Tab")
    for name in ("Benchmarks", "New", "Compare", "Workers"):
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("navigation").get_by_role("link", name=name)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Workers")


async def test_a_printed_list_has_its_benchmarks_and_nothing_to_press(live, visit):
    await SCENES["pass"](live)
    page = await visit(f"{live.base_url}/")
    await page.emulate_media(media="print")
    await expect(page.locator("table.benchmarks .what")).to_be_visible()
    for pressed in ("#filters", "#compare", ".benchmarks .choose input"):
        await expect(page.locator(pressed)).to_be_hidden()
