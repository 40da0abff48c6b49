"""The report as a file: opened from a disk, with the network off."""

import anyio
import pytest

from app.rendering.html import to_html
from tests.app.reports.explained import explained
from tests.app.reports.reported import on_a_gpu, reported
from tests.browser.conftest import PHONE
from tests.browser.test_every_page import serious_faults

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(to_html(explained(anyio.run(reported, on_a_gpu))), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("width", [360, 1200])
async def test_it_fits_its_width(address, visit, width):
    page = await visit(address, offline=True, viewport={"width": width, "height": 844})
    assert await page.evaluate("document.documentElement.scrollWidth") == width


async def test_the_first_screenful_of_a_telephone_holds_the_answer_its_uncertainty_and_its_verdict(address, visit):
    page = await visit(address, offline=True, viewport=PHONE)
    for place in (".verdict .badge", "h1.answer", ".requirements li >> nth=0"):
        box = await page.locator(place).first.bounding_box()
        assert box["y"] + box["height"] <= PHONE["height"], place


async def test_its_style_applies_and_its_pictures_follow_dark_mode(address, visit):
    page = await visit(address, offline=True)
    colours = set()
    for mode in ("light", "dark"):
        await page.emulate_media(color_scheme=mode)
        colours.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
        colours.add(await page.evaluate("getComputedStyle(document.querySelector('svg text')).fill"))
    assert len(colours) == 4


async def test_what_folds_can_be_opened_and_what_scrolls_reached_from_the_keyboard(address, visit):
    page = await visit(address, offline=True, viewport=PHONE)
    await page.locator("summary").first.focus()
    await page.keyboard.press("Enter")
    assert await page.locator("details").first.get_attribute("open") is not None
    scrolling = "[...document.querySelectorAll('.scrolls')].every(one => one.tabIndex === 0)"
    assert await page.evaluate(scrolling)


async def test_axe_finds_nothing_serious(address, visit):
    assert await serious_faults(await visit(address, offline=True)) == []
