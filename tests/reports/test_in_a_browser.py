"""The HTML file in a browser, opened from a disk with the network off."""

import shutil

import anyio
import pytest

from app.reports.html import to_html
from tests.reports.reported import on_a_gpu, reported

playwright = pytest.importorskip("playwright.async_api", reason="NO BROWSER TESTS: playwright is not installed")

pytestmark = pytest.mark.anyio

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(to_html(anyio.run(reported, on_a_gpu)), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
async def opened(address):
    """Opens the file at a width, in a mode; gives the page, and whatever it asked for or complained of."""
    if CHROMIUM is None:
        pytest.skip("NO BROWSER TESTS: chromium is not installed (apt-get install chromium)")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        complaints = []

        async def open_page(width=390, mode="light"):
            context = await browser.new_context(
                offline=True, color_scheme=mode, viewport={"width": width, "height": 844}
            )
            page = await context.new_page()
            page.on("request", lambda request: request.url != address and complaints.append(request.url))
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            await page.goto(address)
            return page, complaints

        yield open_page
        await browser.close()


@pytest.mark.parametrize("width", [360, 1200])
async def test_it_opens_without_a_request_or_a_complaint_and_fits_its_width(opened, width):
    page, complaints = await opened(width)
    assert await page.evaluate("document.documentElement.scrollWidth") == width
    assert complaints == []


async def test_the_first_screenful_of_a_telephone_holds_the_answer_its_uncertainty_and_its_verdict(opened):
    page, _ = await opened(390)
    for place in (".verdict .badge", "h1.answer", ".requirements li >> nth=0"):
        box = await page.locator(place).first.bounding_box()
        assert box["y"] + box["height"] <= 844, place


async def test_its_style_applies_and_its_pictures_follow_dark_mode(opened):
    colours = set()
    for mode in ("light", "dark"):
        page, _ = await opened(1200, mode)
        colours.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        fill = "getComputedStyle(document.querySelector('svg text')).fill"
        colours.add(await page.evaluate(fill))
    assert len(colours) == 4


async def test_what_folds_can_be_opened_and_what_scrolls_reached_from_the_keyboard(opened):
    page, _ = await opened(390)
    await page.locator("summary").first.focus()
    await page.keyboard.press("Enter")
    assert await page.locator("details").first.get_attribute("open") is not None
    scrolling = "[...document.querySelectorAll('.scrolls')].every(one => one.tabIndex === 0)"
    assert await page.evaluate(scrolling)


async def test_axe_finds_nothing_serious(opened):
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="NO AXE TEST: axe is not installed")
    page, _ = await opened(1200)
    found = await axe.Axe().run(page)
    serious = [one["id"] for one in found.response["violations"] if one["impact"] in {"serious", "critical"}]
    assert serious == []
