"""Ten seconds: what the first screenful of a report says, without scrolling."""

import pytest

from app.reports.text.verdict_words import verdict_words
from tests.app.web.browsing import page_of
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.scenes import SCENES

pytestmark = pytest.mark.anyio

#: The least that says how sure the answer is.
UNCERTAINTY = {"failed": "main .notice"}


async def lowest(page, place):
    """Where the first of what is there ends, in pixels from the top, and what it says."""
    shown = page.locator(place).first
    box = await shown.bounding_box()
    return box["y"] + box["height"], await shown.inner_text()


@pytest.mark.parametrize("verdict", SCENES)
async def test_it_holds_the_answer_its_uncertainty_and_its_verdict(live, visit, verdict):
    benchmark = await SCENES[verdict](live)
    places = {
        "verdict": ".verdict .badge",
        "answer": "h1.answer",
        "uncertainty": UNCERTAINTY.get(verdict, ".requirements li"),
    }
    page = await visit(f"{live.base_url}{page_of(benchmark)}")
    for viewport in (DESKTOP, PHONE):
        await page.set_viewport_size(viewport)
        said = {}
        for name, place in places.items():
            bottom, said[name] = await lowest(page, place)
            assert bottom <= viewport["height"], f"{name} ends at {bottom} on {viewport}"
        assert said["verdict"] == verdict_words(verdict)
        assert verdict == "failed" or " to " in said["uncertainty"]
