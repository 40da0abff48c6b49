"""From the form to the verdict, on a real worker."""

import json

import pytest
from playwright.async_api import expect

from tests.browser.visitor import Visitor

pytestmark = pytest.mark.anyio

JOB = {
    "model": {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1},
    "config": {
        "device": "cpu",
        "training": {"batch_size": 8, "steps": 20},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}
#: Its blocks last for seconds: long enough to be seen, however few readings a slow machine gets in.
WATCHED = {**JOB, "config": {**JOB["config"], "training": {"batch_size": 8, "steps": 3_000}}}
LONG = {"model": {"kind": "mlp"}, "config": {"device": "cpu", "training": {"steps": 10_000}}}

#: Milliseconds that a benchmark may take on a machine with much else to do.
PATIENCE = 90_000


async def test_a_benchmark_goes_from_the_form_to_a_report_that_can_be_sent_on(
    shared_service, visit, chromium, tmp_path
):
    page = await visit(f"{shared_service.url}/ui/new")
    await page.get_by_label("Request (JSON)").fill(json.dumps(WATCHED))
    await page.get_by_role("button", name="Start benchmark").click()
    await page.wait_for_url("**/ui/benchmarks/*")
    await expect(page.locator("#running")).to_contain_text("Block", timeout=PATIENCE)
    await expect(page.locator("h1.answer")).to_contain_text("BF16 is", timeout=PATIENCE)
    await expect(page.locator(".verdict .badge")).to_have_text("requirements not met")

    file = tmp_path / "report.html"
    async with page.expect_download() as sent:
        await page.get_by_role("link", name="Download").click()
    await (await sent.value).save_as(file)
    alone = await Visitor.arrive(chromium, file.as_uri(), offline=True)
    await expect(alone.page.locator("h1.answer")).to_have_text(await page.locator("h1.answer").inner_text())
    await alone.leave()
    assert alone.complaints == []


async def test_a_running_benchmark_is_cancelled(visit, shared_service):
    benchmark_id = shared_service.post(LONG)
    shared_service.until_status(benchmark_id, "running")
    page = await visit(f"{shared_service.url}/ui/benchmarks/{benchmark_id}")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("No report: the benchmark was cancelled.")).to_be_visible(timeout=PATIENCE)


async def test_two_are_compared_from_the_list(visit, shared_service):
    chosen = [shared_service.post(JOB), shared_service.post(JOB)]
    for benchmark_id in chosen:
        shared_service.until_status(benchmark_id, "succeeded")
    page = await visit(f"{shared_service.url}/")
    for benchmark_id in chosen:
        await page.locator(f"#choose-{benchmark_id}").check()
    await page.get_by_role("button", name="Compare selected").click()
    await page.wait_for_url("**/ui/compare?*")
    for benchmark_id in chosen:
        await expect(page.get_by_role("link", name=benchmark_id[-6:]).first).to_be_visible()
