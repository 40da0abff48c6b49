"""What the charts draw is what the report says."""

import html
import math
import re
import statistics
from functools import partial
from importlib import resources
from itertools import combinations, pairwise
from xml.etree import ElementTree

import anyio
import pytest

from halftime.charts import CHARTS, drawn, svg
from halftime.charts.labels import round_ticks, spread_out
from halftime.charts.loss import POINTS
from halftime.charts.roofline import LABEL_HEIGHT, LABEL_WIDTH
from halftime.charts.theme import VARIABLES, styled
from halftime.charts.waterfall import SMALL_CHANGE
from halftime.contract.report.named_legs import named_legs
from halftime.contract.report.pairs import block_log_ratio
from tests.app.reports.explained import ceilings, explained
from tests.app.reports.reported import (
    MIB,
    SKIPPED,
    on_a_gpu,
    reported,
    reported_in_turns,
    simulated,
    without_a_baseline,
    without_a_candidate,
)
from tests.worker.comparison.in_turns import Machine, turned

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def report():
    return anyio.run(reported)


@pytest.fixture(scope="module")
def in_turns():
    return anyio.run(reported_in_turns)


@pytest.fixture(params=CHARTS)
def chart(request, report, in_turns):
    """Every chart, of a report that has data for it."""
    return CHARTS[request.param].draw(in_turns if request.param == "turns" else explained(report))


def layers_of(name, report):
    """The rows of every layer of a chart, panel by panel."""
    chart = CHARTS[name].draw(report).to_dict()
    panels = chart.get("vconcat", [chart])
    named = [layer.get("data", panel.get("data")) for panel in panels for layer in panel["layer"]]
    return [chart["datasets"][data["name"]] for data in named]


def data_of(name, report):
    return [row for rows in layers_of(name, report) for row in rows]


def test_a_mark_of_the_speedup_is_the_ratio_of_its_block(report):
    (first, *_), rows = report.comparisons, data_of("speedup", report)
    expected = [
        statistics.median(ours.step_seconds) / statistics.median(theirs.step_seconds)
        for ours, theirs in zip(report.baseline.trials, first.candidate.trials, strict=True)
    ]
    assert [row["ratio"] for row in rows if row.get("leg") == "bf16" and "block" in row] == pytest.approx(expected)


def of_gpu_size(spec):
    """Steps of a third of a second, tens of GiB."""
    made = on_a_gpu(spec)
    breakdown = made.memory.breakdown.model_copy(update={"activations": 40 * 1024 * MIB})
    memory = made.memory.model_copy(update={"breakdown": breakdown, "peak_bytes": breakdown.total_bytes()})
    return made.model_copy(update={"memory": memory, "step_seconds": [20 * one for one in made.step_seconds]})


def test_no_axis_writes_a_number_with_an_exponent():
    for name, chart in drawn(explained(anyio.run(reported, of_gpu_size))).items():
        labels = re.findall(r">([^<>]+)</text>", chart.svg or "")
        assert not [label for label in labels if re.search(r"\de[+-]\d", label)], name


def test_a_mark_of_a_block_in_turns_is_the_ratio_of_its_pairs(in_turns):
    (found,), rows = in_turns.comparisons, data_of("speedup", in_turns)
    expected = [
        math.exp(block_log_ratio(*trials))
        for trials in zip(in_turns.baseline.trials, found.candidate.trials, strict=True)
    ]
    assert [row["ratio"] for row in rows if "block" in row] == pytest.approx(expected)


def test_every_slice_of_the_first_block_is_a_bar_at_its_time(in_turns):
    bars, names = layers_of("turns", in_turns)
    trial = in_turns.baseline.trials[0]
    mine = [row for row in bars if row["leg"] == "fp32"]
    assert [(row["began"], row["ended"]) for row in mine] == [
        (one.began_seconds, one.ended_seconds) for one in trial.slices
    ]
    assert [row["leg"] for row in names] == ["fp32", "bf16"]


def test_steps_that_pick_up_after_a_wait_are_in_no_picture():
    def slow_to_pick_up(specs, turns):
        trials = turned(specs, turns)
        return [one.model_copy(update={"step_seconds": picked_up(one)}) for one in trials]

    def picked_up(one):
        firsts = {of.first_step - one.slices[0].first_step for of in one.slices}
        return [9.0 if step in firsts else seconds for step, seconds in enumerate(one.step_seconds)]

    report = anyio.run(reported_in_turns, Machine(turned=slow_to_pick_up))
    assert "to 20 ms over" in CHARTS["step_times"].draw(report).description
    assert max(row["milliseconds"] for row in data_of("turns", report)) == pytest.approx(20)


def test_reports_of_whole_trials_say_nothing_of_turns(report, in_turns):
    assert "turns" not in drawn(report)
    assert drawn(in_turns)["turns"].svg
    assert "turns" not in drawn(in_turns.without_samples())


def test_the_machine_is_drawn_from_the_survey_on(in_turns):
    places = [row["trial"] for row in layers_of("conditions", in_turns)[0]]
    assert len(places) == 2 * (1 + in_turns.blocks)
    assert "survey" in drawn(in_turns)["conditions"].caption


def test_a_loss_scale_is_read_at_powers_of_two():
    chart = CHARTS["loss_scale"].draw(anyio.run(partial(reported, candidates=["fp16"]))).to_dict()
    assert chart["layer"][0]["encoding"]["y"]["axis"]["values"] == [512, 256]


def test_a_precision_that_runs_twice_has_two_lines_of_the_loss():
    lines = CHARTS["loss"].draw(anyio.run(partial(reported, candidates=["fp32"]))).to_dict()["layer"][0]["encoding"]
    for channel in ("color", "strokeDash"):
        first, again = lines[channel]["scale"]["range"]
        assert first != again


def test_the_band_of_the_speedup_is_its_interval_and_the_grey_one_the_noise_floor(report):
    limits = {(row["low"], row["ratio"], row["high"]) for row in data_of("speedup", report) if "low" in row}
    estimates = [report.noise_floor.ratio, *(found.speedup for found in report.comparisons)]
    assert limits == {(one.ci_low, one.value, one.ci_high) for one in estimates}


def test_what_is_required_of_the_speedup_is_a_line(report):
    assert {(1.0, "same speed"), (1.5, "required 1.5×")} <= {
        (row["ratio"], row.get("label")) for row in data_of("speedup", report)
    }


def test_bins_of_step_times_hold_every_step_but_the_slowest_of_a_hundred():
    training = {"batch_size": 8, "steps": 302, "warmup_steps": 2}
    report = anyio.run(partial(reported, training=training))
    rows = data_of("step_times", report)
    for leg in named_legs(report):
        samples = sorted(1000 * second for trial in leg.leg.trials for second in trial.step_seconds)
        mine = [row for row in rows if row["leg"] == leg.name and "steps" in row]
        # The last bin may reach a little further than it must.
        assert 0.99 * len(samples) <= sum(row["steps"] for row in mine) <= len(samples)
        assert mine[0]["milliseconds"] == pytest.approx(samples[0])
        for row, after in pairwise(mine):
            assert row["steps"] == sum(row["milliseconds"] <= one < after["milliseconds"] for one in samples)


def test_the_line_of_step_times_is_the_median_of_the_report(report):
    medians = {row["leg"]: row["milliseconds"] for row in data_of("step_times", report) if "label" in row}
    assert medians == {leg.name: 1000 * leg.leg.median_step_seconds for leg in named_legs(report)}


async def test_step_times_far_apart_are_drawn_on_a_logarithmic_axis():
    def simulate(spec):
        made = simulated(spec)
        slow = 50 if spec.precision == "fp16" else 1
        return made.model_copy(update={"step_seconds": [slow * second for second in made.step_seconds]})

    chart = CHARTS["step_times"].draw(await reported(simulate)).to_dict()
    assert chart["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"


def test_loss_curves_are_those_of_the_report(report):
    rows = data_of("loss", report)
    for leg in named_legs(report):
        assert [row["loss"] for row in rows if row.get("leg") == leg.name] == leg.leg.loss_curve
    assert {row["loss"] for row in rows if "label" in row} == {report.data.best_possible_loss}


def with_baseline(report, leg):
    return report.model_copy(update={"baseline": leg})


def with_curve(report, curve):
    return with_baseline(report, report.baseline.model_copy(update={"loss_curve": curve}))


def test_a_long_loss_curve_is_drawn_as_means_of_all_its_steps(report):
    curve = [1 + 1 / (1 + step) for step in range(10_000)]
    rows = [row for row in data_of("loss", with_curve(report, curve)) if row.get("leg") == "fp32"]
    assert len(rows) <= POINTS
    assert sum(row["loss"] * row["steps"] for row in rows) == pytest.approx(sum(curve))


def test_a_loss_that_is_no_number_is_a_gap_and_is_told(report):
    broken = with_curve(report, [4.0, None, 2.0, None, 1.0])
    assert [row["loss"] for row in data_of("loss", broken) if row.get("leg") == "fp32"] == [4.0, None, 2.0, None, 1.0]
    assert "fp32 is not finite in 2 steps" in CHARTS["loss"].draw(broken).description


def test_a_loss_that_explodes_leaves_the_others_to_be_seen(report):
    exploded = with_curve(report, [4.0, 1e30, 1e32, 1e32, 1e32])
    top = CHARTS["loss"].draw(exploded).to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"][1]
    assert top < 20


def waterfalls_of(report):
    """The bars of each candidate, from top to bottom."""
    chart = CHARTS["waterfall"].draw(report).to_dict()
    return [chart["datasets"][panel["layer"][1]["data"]["name"]] for panel in chart["vconcat"]]


def test_a_waterfall_goes_from_the_step_of_the_baseline_to_that_of_each_candidate(report):
    report = explained(report)
    panels = waterfalls_of(report)
    assert [bars[-1]["row"] for bars in panels] == ["bf16 step", "fp16 step"]
    for bars, comparison in zip(panels, report.comparisons, strict=True):
        assert bars[0]["to"] == pytest.approx(1000 * report.baseline.median_step_seconds)
        assert bars[-1]["to"] == pytest.approx(1000 * comparison.candidate.median_step_seconds)
        assert [after["from"] for after in bars[1:-1]] == [before["to"] for before in bars[:-2]]
        assert bars[-2]["to"] == pytest.approx(bars[-1]["to"])


def test_a_waterfall_says_what_saved_the_most_first_and_what_cost_with_its_sign(report):
    bars = waterfalls_of(explained(report))[0]
    assert [(bar["row"], bar["what"]) for bar in bars[1:2]] == [("matrix products", "saved")]
    costs = {bar["row"]: bar["label"] for bar in bars if bar["what"] == "cost"}
    assert costs["casts and copies"].startswith("+")
    assert bars[1]["label"].startswith("−")


def test_small_changes_of_a_waterfall_are_one_bar(report):
    step = 1000 * report.baseline.median_step_seconds
    for bars in waterfalls_of(explained(report)):
        changes = {bar["row"]: bar["to"] - bar["from"] for bar in bars[1:-1]}
        changes.pop("everything else", None)
        assert min(map(abs, changes.values())) >= SMALL_CHANGE * step


def test_a_mark_of_the_roofline_is_a_kind_of_a_leg_whose_work_and_bytes_are_known(report):
    report = explained(report)
    marks = layers_of("roofline", report)[5]
    for leg in named_legs(report):
        known = [time for time in leg.leg.time_by_kind if time.least_flops and time.least_bytes]
        mine = [row for row in marks if row["leg"] == leg.name]
        assert [row["rate"] for row in mine] == [time.least_flops / time.seconds_per_step for time in known]
        assert [row["intensity"] for row in mine] == [time.least_flops / time.least_bytes for time in known]


def test_the_roof_is_what_the_device_s_ceilings_allow(report):
    report = explained(report)
    slopes, names, flats = layers_of("roofline", report)[:3]
    assert [row["label"] for row in names] == ["memory 18.0 GB/s", "cache 90.0 GB/s"]
    for row in slopes:
        assert row["rate"] / row["intensity"] == pytest.approx({"memory": 1.8e10, "cache": 9e10}[row["memory"]])
    assert {row["precision"]: row["rate"] for row in flats} == report.ceilings.flops_per_second


def test_without_a_cache_or_without_a_peak_the_roof_is_what_is_known(report):
    memory = ceilings().memory[1:]
    fewer = explained(report, ceilings=ceilings(memory=memory, flops_per_second={}))
    assert [row["label"] for row in layers_of("roofline", fewer)[1]] == ["memory 18.0 GB/s"]
    assert {row["rate"] for row in layers_of("roofline", fewer)[2]} == {report.baseline.ceiling_flops_per_second}
    for missing in (None, ceilings(memory=[])):
        for name in ("roofline", "bandwidth"):
            assert CHARTS[name].draw(explained(report, ceilings=missing)) is None


def test_a_cache_that_limits_nothing_in_view_is_neither_drawn_nor_named(report):
    memory = [one.model_copy(update={"bytes_per_second": 1e13}) for one in ceilings().memory[:1]]
    fast = explained(report, ceilings=ceilings(memory=[*memory, *ceilings().memory[1:]]))
    slopes, names = layers_of("roofline", fast)[:2]
    assert {row["memory"] for row in slopes} == {"memory"}
    assert [row["label"] for row in names] == ["memory 18.0 GB/s"]


def test_a_leg_s_own_product_that_is_faster_raises_the_roof(report):
    fast = report.baseline.model_copy(update={"ceiling_flops_per_second": 3e11})
    rates = {row["precision"]: row["rate"] for row in layers_of("roofline", explained(with_baseline(report, fast)))[2]}
    assert (rates["fp32"], rates["bf16"]) == (3e11, 4.8e11)


def test_a_mark_of_the_memory_traffic_is_a_kind_that_multiplies_nothing(report):
    report = explained(report)
    lines, _, _, _, marks = layers_of("bandwidth", report)
    assert [row["rate"] for row in lines] == [1.8e10, 9e10]
    for leg in named_legs(report):
        known = [time for time in leg.leg.time_by_kind if time.least_bytes and not time.least_flops]
        mine = [row["rate"] for row in marks if row["leg"] == leg.name]
        assert mine == [time.least_bytes / time.seconds_per_step for time in known]


def test_attention_whose_arithmetic_is_unknown_is_on_neither_chart(report):
    told = explained(report)
    of_bytes_alone = [
        time.model_copy(update={"least_flops": None}) if time.kind == "attention" else time
        for time in told.baseline.time_by_kind
    ]
    told = with_baseline(told, told.baseline.model_copy(update={"time_by_kind": of_bytes_alone}))
    for name in ("roofline", "bandwidth"):
        kinds = {row["kind"] for row in data_of(name, told) if row.get("leg") == "fp32"}
        assert kinds
        assert "attention" not in kinds


def test_labels_of_the_roofline_do_not_overlap(report):
    told = explained(report)
    near = [
        time.model_copy(update={"least_flops": 10 * (time.least_bytes or 1)}) for time in told.baseline.time_by_kind
    ]
    told = with_baseline(told, told.baseline.model_copy(update={"time_by_kind": near}))
    chart = CHARTS["roofline"].draw(told).to_dict()
    texts = [layer for layer in chart["layer"] if layer["encoding"].get("text", {}).get("field") == "kind"]
    labels = [row for layer in texts for row in chart["datasets"][layer["data"]["name"]]]
    assert {row["kind"] for row in labels} >= {"matrix products", "elementwise", "normalisation"}
    for one, other in combinations(labels, 2):
        beside = abs(one["across"] - other["across"]) >= LABEL_WIDTH
        assert beside or abs(one["up"] - other["up"]) >= LABEL_HEIGHT - 1e-9


def test_reports_without_an_explanation_say_nothing_of_its_charts(report):
    charts = {"waterfall", "roofline", "bandwidth"}
    assert charts.isdisjoint(drawn(report))
    assert charts <= drawn(explained(report)).keys()


def test_bars_of_memory_are_its_parts_end_to_end(report):
    rows = data_of("memory", report)
    for leg in named_legs(report):
        mine = [row for row in rows if row["leg"] == leg.name and "part" in row]
        assert {row["part"]: row["bytes"] for row in mine} == leg.leg.memory_breakdown.model_dump()
        assert [row["from"] for row in mine[1:]] == [row["to"] for row in mine[:-1]]
        assert mine[-1]["to"] * MIB == pytest.approx(leg.leg.peak_memory_bytes)


def test_the_loss_scale_has_every_change_and_every_skipped_step(report):
    rows = data_of("loss_scale", report)
    (scaler,) = [found.candidate.grad_scaler for found in report.comparisons if found.candidate.grad_scaler]
    assert {row["step"] for row in rows} == {1, 4, len(scaler.scale_trace)}
    assert all(scaler.scale_trace[row["step"] - 1] == row["scale"] for row in rows)
    assert layers_of("loss_scale", report)[1] == [
        {"leg": "fp16", "precision": "fp16", "step": step + 1, "scale": scaler.scale_trace[step]} for step in SKIPPED
    ]


async def test_the_machine_is_drawn_trial_by_trial_in_order_of_time():
    report = await reported(on_a_gpu)
    trials = sorted(
        (trial for leg in named_legs(report) for trial in leg.leg.trials), key=lambda one: one.training_started_at
    )
    clocks, heat, power = [[row["median"] for row in rows] for rows in layers_of("conditions", report)[::2]]
    assert clocks == [trial.telemetry.gpu.sm_clock_mhz.median for trial in trials]
    assert heat == [trial.telemetry.gpu.temperature_celsius.median for trial in trials]
    assert power == [trial.telemetry.gpu.power_watts.median for trial in trials]


def test_without_a_gpu_the_load_of_the_host_is_drawn(report):
    titles = [
        panel["layer"][0]["encoding"]["y"]["title"] for panel in CHARTS["conditions"].draw(report).to_dict()["vconcat"]
    ]
    assert titles == ["Used by others (cores)", "Load average"]


@pytest.mark.parametrize(
    ("shape", "lacking"),
    [
        (reported, set()),
        (partial(reported, candidates=["bf16"]), {"loss_scale"}),
        (partial(reported, candidates=["fp32"]), {"loss_scale"}),
        (partial(reported, without_a_candidate), {"speedup", "loss_scale"}),
        (partial(reported, without_a_baseline), {"speedup"}),
        (partial(reported, measurement={"min_blocks": 2, "max_blocks": 2, "control": True}), set()),
    ],
    ids=["whole", "no scaler", "A/A", "no candidate", "no baseline", "control"],
)
async def test_a_chart_with_nothing_to_show_says_why(shape, lacking):
    report = await shape()
    charts = drawn(report)
    assert {name for name, chart in charts.items() if chart.svg is None} == lacking
    assert all(charts[name].absence.endswith(".") for name in lacking)


def test_without_samples_the_figures_are_drawn_and_what_needs_samples_is_not(report):
    charts = drawn(report.without_samples())
    assert {name for name, chart in charts.items() if chart.svg is None} == {"step_times"}
    assert "ratio" in str(data_of("speedup", report.without_samples()))


def test_a_chart_is_one_image_with_words_in_well_formed_svg(chart):
    root = ElementTree.fromstring(svg(chart))  # noqa: S314 # made here
    assert root.get("role") == "img"
    assert root.get("aria-label") == chart.description
    assert [one for one in root.iter() if one.get("role") or one.get("aria-label")] == [root]
    assert not [one for one in root.iter() if one.get("style") or one.tag.endswith(("script", "style"))]
    assert chart.to_dict()["usermeta"]["caption"].endswith((".", ")."))


def test_every_colour_of_a_chart_follows_the_page(chart):
    text = svg(chart)
    bare = re.findall(r'(?:fill|stroke)="(?!none|transparent|var\()([^"]+)"', text)
    assert bare == []


def test_the_stylesheet_has_every_colour_of_the_charts():
    stylesheet = resources.files("app.web").joinpath("static/halftime.css").read_text()
    light = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}),", stylesheet))
    assert {name: light.get(name) for name in VARIABLES.values()} == {name: hue for hue, name in VARIABLES.items()}


def test_words_of_a_chart_cannot_break_out_of_it(report):
    hostile = '"><script>alert(1)</script>'
    text = svg(styled(CHARTS["memory"].draw(report), hostile, ""))
    assert html.escape(hostile) in text
    assert "<script" not in text


def test_ticks_are_powers_of_ten_or_round_numbers_between_them():
    assert round_ticks(3, 4000) == [10, 100, 1000]
    assert round_ticks(0.3, 4) == [0.5, 1, 2]


def test_labels_keep_their_distance_and_their_order():
    assert spread_out([1.0, 2.0, 1.1], 0.5) == [1.0, 2.0, 1.5]
