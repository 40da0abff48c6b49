"""A reader can re-derive a report from its raw samples by what docs/method.md says, without any code of ours."""

import itertools
import json
import math
import random
import statistics

import pytest
from scipy import stats

from tests.app.reports.reported import reported_in_turns
from tests.factories import comparison, request
from tests.worker.comparison.in_turns import Machine, turned
from worker.comparison.blocks import compare
from worker.report.build import make_report
from worker.trial.run import run_trial


@pytest.mark.anyio
async def test_a_report_follows_from_its_raw_samples():
    asked = request(candidates=["bf16"], measurement={"min_blocks": 3, "max_blocks": 4, "control": True})

    async def run(spec, deadline_seconds, after_step):
        return run_trial(spec, after_step)

    measured = await compare(comparison(asked), run, lambda progress: None)
    report = json.loads(make_report("id", measured).model_dump_json())

    baseline = report["baseline"]["trials"]
    (found,) = report["comparisons"]
    candidate = found["candidate"]["trials"]
    blocks, t = len(baseline), stats.t.ppf(0.975, 2)
    assert blocks == report["blocks"]

    def medians(trials):
        return [statistics.median(trial["step_seconds"]) for trial in trials]

    def interval(values):
        from_pilot = t * statistics.stdev(values[:3])
        from_all = stats.t.ppf(0.975, blocks - 1) * statistics.stdev(values)
        half_width = max(from_pilot, from_all) / math.sqrt(blocks)
        return [statistics.fmean(values), statistics.fmean(values) - half_width, statistics.fmean(values) + half_width]

    def numbers(estimate):
        return [estimate["value"], estimate["ci_low"], estimate["ci_high"]]

    logs = [math.log(a / b) for a, b in zip(medians(baseline), medians(candidate), strict=True)]
    assert numbers(found["speedup"]) == pytest.approx([math.exp(value) for value in interval(logs)])

    own = [math.log(seconds) for seconds in medians(baseline)]
    floor = stats.t.ppf(0.975, blocks - 1) * statistics.stdev(own) * math.sqrt(2 / blocks)
    assert numbers(report["noise_floor"]["ratio"]) == pytest.approx([1, math.exp(-floor), math.exp(floor)])

    control = medians(report["control"]["trials"])
    like_with_like = [math.log(a / b) for a, b in zip(medians(baseline), control, strict=True)]
    assert numbers(report["noise_floor"]["control_ratio"]) == pytest.approx(
        [math.exp(value) for value in interval(like_with_like)]
    )

    percents = [
        100 * (1 - b["memory"]["peak_bytes"] / a["memory"]["peak_bytes"])
        for a, b in zip(baseline, candidate, strict=True)
    ]
    assert numbers(found["memory_reduction_percent"]) == pytest.approx(
        [statistics.fmean(percents), min(percents), max(percents)]
    )

    losses = [a["validation_loss"] - b["validation_loss"] for a, b in zip(baseline, candidate, strict=True)]
    mean, low, high = interval(losses)
    difference = found["loss_difference"]
    assert [difference["signed_mean"], difference["ci_low"], difference["ci_high"]] == pytest.approx([mean, low, high])
    assert difference["value"] == pytest.approx(abs(mean))

    counts = [round(a["validation_counts"]["accuracy"]) for a in baseline]
    normal = stats.norm.ppf(0.975)

    def widened(values, variances):
        """The interval of shares of predictions: at least the error of their samples, and one prediction."""
        mean, low, _ = interval(values)
        sampled = normal * math.sqrt(sum(v / n for v, n in zip(variances, counts, strict=True))) / blocks
        half_width = max(mean - low, sampled, 1 / min(counts))
        return [mean, mean - half_width, mean + half_width]

    accuracies = [a["validation_accuracy"] for a in baseline]
    shares = [a - b["validation_accuracy"] for a, b in zip(accuracies, candidate, strict=True)]
    mean, low, high = widened(shares, [abs(d) - d**2 for d in shares])
    difference = found["accuracy_difference"]
    assert [difference["signed_mean"], difference["ci_low"], difference["ci_high"]] == pytest.approx([mean, low, high])

    chances = [{metric["name"]: metric["chance"] for metric in a["data"]["metrics"]} for a in baseline]
    found = report["baseline"]["gains_over_chance"]
    gains = [share - chance["accuracy"] for share, chance in zip(accuracies, chances, strict=True)]
    assert numbers(found["accuracy"]) == pytest.approx(widened(gains, [share * (1 - share) for share in accuracies]))
    gains = [chance["loss"] - a["validation_loss"] for a, chance in zip(baseline, chances, strict=True)]
    assert numbers(found["loss"]) == pytest.approx(interval(gains))


@pytest.mark.anyio
async def test_a_report_of_turns_follows_from_its_raw_samples():
    noise = random.Random(0)  # noqa: S311 # noise of a made-up machine

    def noisy(specs, turns):
        trials = turned(specs, turns, leg_factor=lambda spec: noise.uniform(0.9, 1.1))
        return [_with_other_programs(one, slice_index=specs[0].block % 2) for one in trials]

    measurement = {"min_blocks": 3, "max_blocks": 4, "control": True}
    report = json.loads((await reported_in_turns(Machine(turned=noisy), measurement=measurement)).model_dump_json())
    (found,), control = report["comparisons"], report["control"]
    blocks, counted = report["blocks"], []

    def compared(trial, one):
        first = one["first_step"] - trial["slices"][0]["first_step"] + one["pick_up_steps"]
        return statistics.median(trial["step_seconds"][first : first + one["steps"] - one["pick_up_steps"]])

    def log_ratio(trial, other):
        ratios = [
            math.log(compared(trial, one) / compared(other, two))
            for one, two in zip(trial["slices"], other["slices"], strict=True)
            if not one["disturbances"] and not two["disturbances"]
        ]
        counted.append(len(ratios))
        return statistics.median((one + two) / 2 for one, two in itertools.combinations_with_replacement(ratios, 2))

    def of_leg(leg):
        return [log_ratio(*trials) for trials in zip(report["baseline"]["trials"], leg["trials"], strict=True)]

    def t(degrees):
        return stats.t.ppf(0.975, degrees)

    logs, of_control = of_leg(found["candidate"]), of_leg(control)
    half_width = max(t(2) * statistics.stdev(logs[:3]), t(blocks - 1) * statistics.stdev(logs)) / math.sqrt(blocks)
    mean = statistics.fmean(logs)
    assert [found["speedup"][end] for end in ("value", "ci_low", "ci_high")] == pytest.approx(
        [math.exp(mean), math.exp(mean - half_width), math.exp(mean + half_width)]
    )
    rounds = len(report["baseline"]["trials"][0]["slices"])
    assert all(rounds / 2 <= pairs < rounds for pairs in counted)
    pairs = sum(counted[:blocks])
    assert (found["pairs"], found["disturbed_pairs"]) == (pairs, blocks * rounds - pairs)

    pooled = (statistics.variance(logs) + statistics.variance(of_control)) / 2
    floor = t(blocks - 1) * math.sqrt(pooled / blocks)
    assert report["noise_floor"]["ratio"]["ci_high"] == pytest.approx(math.exp(floor))


def _with_other_programs(trial, slice_index):
    busy = {"foreign_cpu_seconds": 99_000.0, "ended_seconds": 99.0}
    slices = [one.model_copy(update=busy if index == slice_index else {}) for index, one in enumerate(trial.slices)]
    return trial.model_copy(update={"slices": slices})
