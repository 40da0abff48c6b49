"""A real browser in front of real pages. Without Chromium these tests are skipped, and say so."""

import shutil

import pytest
from playwright.async_api import async_playwright, expect

from tests.browser.visitor import Visitor

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "NO BROWSER TESTS: there is no Chromium here; `make browser` as root installs it, or your package manager"

#: Nothing of the browser's own business: updates, accounts, crash reports.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

# Time decides nothing here: a machine may have much else to do.
expect.set_options(timeout=60_000)

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="session")
async def chromium():
    """The system's Chromium, started once."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def visit(chromium):
    """Opens a page as somebody new: `await visit(address, **what the browser is like)`.

    Whatever a test does, no page of it may ask for anything elsewhere, break its policy, or fail in a script.
    """
    visitors = []

    async def open_page(address, **like):
        visitor = await Visitor.arrive(chromium, address, **{"viewport": DESKTOP} | like)
        visitors.append(visitor)
        return visitor.page

    yield open_page
    for visitor in visitors:
        await visitor.leave()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []
