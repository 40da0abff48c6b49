"""The form of a new benchmark, beside its JSON."""

import json

import pytest
from playwright.async_api import expect

from app.web.examples import EXAMPLES
from tests.app.acts import EMULATED, post, register

pytestmark = pytest.mark.anyio


@pytest.fixture
async def form(live, visit):
    """The form, with the least request in it."""
    return await visit(f"{live.base_url}/ui/new")


async def request_of(page):
    return json.loads(await page.get_by_label("Request (JSON)").input_value())


async def test_what_a_field_says_stands_in_the_json_and_a_default_need_not(form):
    await form.get_by_label("Batch size").fill("64")
    await form.get_by_label("bf16", exact=True).first.check()
    await form.get_by_label("Min speedup").fill("")
    assert await request_of(form) == {
        "model": {"kind": "transformer"},
        "config": {"device": "auto", "training": {"batch_size": 64}, "candidates": ["bf16"]},
        "requirements": {"min_speedup": None},
    }
    await form.get_by_label("Batch size").fill("16")
    assert "training" not in (await request_of(form))["config"]


async def test_what_the_json_says_stands_in_the_fields(form):
    body = {
        "model": {"kind": "convnet", "widths": [8, 16]},
        "config": {"training": {"compile": {}}},
        "labels": {"team": "ranking"},
    }
    await form.get_by_label("Request (JSON)").fill(json.dumps(body))
    await expect(form.get_by_label("Widths", exact=True)).to_have_value("8, 16")
    await expect(form.locator("#field-labels")).to_have_value("team: ranking")
    await expect(form.locator("#field-config-training-compile")).to_have_value("{}")
    await expect(form.get_by_label("Device", exact=True)).to_have_value("cuda")


async def test_the_switches_of_the_explanation_follow_each_other(form):
    explain, verify = (form.get_by_label(name, exact=True) for name in ("Explain", "Verify"))
    await expect(explain).to_be_checked()
    await verify.check()
    assert (await request_of(form))["config"]["explain"] == {"verify": True}
    await expect(explain).to_be_checked()
    await explain.uncheck()
    assert (await request_of(form))["config"]["explain"] is False
    await expect(verify).not_to_be_checked()
    await verify.check()
    await expect(explain).to_be_checked()
    await verify.uncheck()
    assert "explain" not in (await request_of(form))["config"]


async def test_a_kind_brings_its_fields_and_keeps_what_was_written(form):
    kind = form.locator("#model-kind")
    await form.get_by_label("Vocab size").first.fill("512")
    await kind.select_option("transformers")
    await expect(form.get_by_label("Preset")).to_have_value("gpt2")
    assert (await request_of(form))["model"]["preset"] == "gpt2"
    await kind.select_option("transformer")
    assert (await request_of(form))["model"] == {"kind": "transformer", "vocab_size": 512}


async def test_a_field_of_the_default_data_names_its_kind(form):
    await form.locator('[data-of="/config/data"]:not([hidden])').get_by_label("Loader").fill('{"workers": 2}')
    assert (await request_of(form))["config"]["data"] == {"kind": "synthetic", "loader": {"workers": 2}}


async def test_json_that_cannot_be_read_yet_is_left_alone(form):
    text = form.get_by_label("Request (JSON)")
    await text.fill('{"model": ')
    await expect(form.get_by_text("Invalid JSON")).to_be_visible()
    await expect(form.get_by_label("Batch size")).to_be_disabled()
    await text.fill('{"model": {"kind": "mlp"}}')
    await expect(form.get_by_label("Batch size")).to_be_enabled()
    await expect(form.locator("#model-kind")).to_have_value("mlp")


async def test_the_rough_cost_follows(live, form):
    await expect(form.locator("#cost")).to_contain_text("Trials14 to 34")
    await register(live)
    await form.locator("#more > summary").click()
    await form.get_by_label("Min blocks").fill("2")
    await expect(form.locator("#cost")).to_contain_text("Trials6 to 34")
    await expect(form.locator("#cost")).to_contain_text("1 worker online that can run it")


async def test_a_warning_stands_below_the_rough_cost(live, form):
    await register(live, precisions=EMULATED)
    await form.get_by_label("bf16", exact=True).check()
    await expect(form.locator("#cost")).to_contain_text("Warning: bf16 is emulated: The device has no bf16")
    await form.get_by_label("bf16", exact=True).uncheck()
    await form.get_by_label("fp32").check()
    await expect(form.locator("#cost")).not_to_contain_text("Warning")
    await expect(form.locator("#cost")).to_contain_text("the matrix product rates of the online workers")


async def test_a_fault_is_shown_at_its_field_while_it_is_written(form):
    batch = form.get_by_label("Batch size")
    await batch.fill("many")
    await expect(batch).to_have_attribute("aria-invalid", "true")
    await expect(batch).to_have_accessible_description(
        "samples per batch, the same in every leg; 1 to 65,536 Input should be a valid integer"
    )
    await batch.fill("8")
    await expect(batch).not_to_have_attribute("aria-invalid", "true")


async def test_faults_at_submit_are_summed_up_and_the_first_has_the_focus(form):
    await form.get_by_label("Steps", exact=True).fill("1")
    await form.locator("#more > summary").click()
    await form.get_by_label("Seed").fill("-1")
    await form.locator("#more > summary").click()
    await form.get_by_role("button", name="Start benchmark").click()
    await expect(form.get_by_label("Steps", exact=True)).to_be_focused()
    summary = form.locator("#faults")
    await expect(summary.get_by_role("link")).to_have_count(2)
    await summary.get_by_role("link", name="Seed").click()
    await expect(form.get_by_label("Seed")).to_be_focused()


async def test_a_fault_of_many_fields_is_shown_at_their_group(form):
    await form.get_by_label("Steps", exact=True).fill("4")
    group = form.get_by_role("group", name="Training", exact=True)
    await expect(group.locator("> .error")).to_have_text("warmup_steps must be smaller than steps")


async def test_the_keyboard_alone_makes_a_benchmark(live, form):
    await form.get_by_label("Batch size").focus()
    await form.keyboard.press("Control+A")
    await form.keyboard.type("8")
    await form.keyboard.press("Enter")
    await form.wait_for_url("**/ui/benchmarks/*")
    items = (await live.get("/benchmarks")).json()["items"]
    made = (await live.get(items[0]["links"]["self"])).json()
    assert made["request"]["config"]["training"]["batch_size"] == 8


async def test_a_request_with_changes_starts_from_what_was_asked(live, visit):
    body = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}, "labels": {"a": "<b>'\"&"}}
    made = await post(live, body)
    form = await visit(f"{live.base_url}/ui/new?from={made['id']}")
    assert await request_of(form) == body


@pytest.mark.parametrize("example", EXAMPLES)
async def test_an_example_comes_through_the_fields_unchanged(live, visit, example):
    form = await visit(f"{live.base_url}/ui/new?example={example}")
    before = await request_of(form)
    await form.get_by_label("Priority").evaluate("f => f.dispatchEvent(new Event('input', {bubbles: true}))")
    assert await request_of(form) == before


async def test_without_scripts_the_json_is_the_form(live, visit):
    form = await visit(f"{live.base_url}/ui/new", java_script_enabled=False)
    await expect(form.get_by_label("Batch size")).to_be_hidden()
    await form.get_by_label("Request (JSON)").fill('{"model": {"kind": "mlp", "num_layers": 0}}')
    await form.get_by_role("button", name="Start benchmark").click()
    await expect(form.get_by_role("alert")).to_contain_text("/model/num_layers")
    await form.get_by_label("Request (JSON)").fill('{"model": {"kind": "mlp"}}')
    await form.get_by_role("button", name="Start benchmark").click()
    await form.wait_for_url("**/ui/benchmarks/*")
