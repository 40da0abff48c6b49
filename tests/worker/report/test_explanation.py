"""Waterfall, bounds and cause of a speedup."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice, ProfiledKind, TimeByKind
from halftime.contract.request.training import CompileConfig, TrainingConfig
from tests.app.reports.reported import simulated
from tests.factories import CPU, comparison, profile, request
from tests.worker.report.test_time_by_kind import leg
from worker.comparison.blocks import compare
from worker.comparison.comparison_run import VerifiedGain
from worker.report import explanation
from worker.report.build import make_report
from worker.report.explanation import bound_of, explain, why_not_explained

SPEEDUP = Estimate(value=1.2, ci_low=1.1, ci_high=1.3)
#: The request and the device, which only the advice looks at.
ASKED = (request(), CPU)


def row(kind, seconds, bound_by=None, share=None):
    return TimeByKind(
        kind=kind,
        seconds_per_step=seconds,
        calls=1,
        least_flops=None,
        least_bytes=None,
        bound_by=bound_by,
        share_of_ceiling=share,
    )


def legs(baseline, candidate):
    return [
        leg(sum(one.seconds_per_step for one in rows), precision=precision, time_by_kind=rows)
        for precision, rows in (("fp32", baseline), ("bf16", candidate))
    ]


def test_the_waterfall_has_every_kind_of_either_leg_in_order():
    explained = explain(
        *legs(
            [row("matrix_products", 0.8), row("host", 0.2)],
            [row("matrix_products", 0.3), row("casts_and_copies", 0.1), row("host", 0.2)],
        ),
        SPEEDUP,
        *ASKED,
    )
    assert [(one.kind, one.baseline_seconds, one.candidate_seconds) for one in explained.waterfall] == [
        ("matrix_products", 0.8, 0.3),
        ("casts_and_copies", 0.0, 0.1),
        ("host", 0.2, 0.2),
    ]


def test_the_bounds_follow_from_what_is_left():
    candidate = [row("matrix_products", 0.5, "compute", 0.5), row("elementwise", 0.3, "memory", 0.5), row("host", 0.2)]
    bound = explain(*legs(candidate, candidate), SPEEDUP, *ASKED).bound
    assert bound.matmul_free.value == pytest.approx(1.2 / 0.5)
    assert bound.all_at_ceiling.value == pytest.approx(1.2 / 0.4)


shares = st.one_of(st.none(), st.floats(0, 1))


@given(st.lists(st.tuples(st.floats(1e-6, 1.0), shares), min_size=2, max_size=4))
def test_no_bound_is_below_the_measured_speedup(parts):
    names = ["elementwise", "matrix_products", "optimizer", "host"]
    rows = [row(name, seconds, None, share) for name, (seconds, share) in zip(names, parts, strict=False)]
    bound = explain(*legs(rows, rows), SPEEDUP, *ASKED).bound
    for one in (bound.matmul_free, bound.all_at_ceiling):
        assert one is None or (one.value >= SPEEDUP.value * (1 - 1e-9) and one.ci_low >= SPEEDUP.ci_low * (1 - 1e-9))
        assert one is None or all(map(math.isfinite, (one.value, one.ci_low, one.ci_high)))


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ([("data", 0.6, None), ("elementwise", 0.4, None)], "limited mostly by the wait for data, 60 % of its step"),
        ([("host", 0.6, None), ("elementwise", 0.4, None)], "limited mostly by the host, 60 % of its step"),
        (
            [("matrix_products", 0.7, "compute"), ("host", 0.3, None)],
            "limited mostly by matrix products (70 % of its step, 1.00× as fast as in fp32)",
        ),
        (
            [("matrix_products", 0.3, None), ("elementwise", 0.5, "memory"), ("optimizer", 0.2, "memory")],
            "limited mostly by memory-bound work other than matrix products and attention: 700 ms of its step "
            "(700 ms in fp32), which is 70 % of it, most of that elementwise (50 % of the step) and optimizer (20 %)",
        ),
    ],
)
def test_the_cause_names_what_limits(candidate, words):
    rows = [row(kind, seconds, bound) for kind, seconds, bound in candidate]
    assert explain(*legs(rows, rows), SPEEDUP, *ASKED).cause == words


def test_of_products_and_attention_each_has_its_own_speed():
    baseline, candidate = (
        [row("matrix_products", seconds), row("attention", 0.2), row("host", 0.1)] for seconds in (0.8, 0.4)
    )
    assert explain(*legs(baseline, candidate), SPEEDUP, *ASKED).cause == (
        "limited mostly by matrix products (57 % of its step, 2.00× as fast as in fp32) "
        "and attention (29 %, 1.00× as fast as in fp32)"
    )


def test_what_takes_notably_longer_holds_a_speedup_back():
    baseline = [row("matrix_products", 0.066), row("attention", 0.006)]
    candidate = [row("matrix_products", 0.027), row("attention", 0.024)]
    assert explain(*legs(baseline, candidate), SPEEDUP, *ASKED).cause == (
        "held back mostly by attention: 24 ms of its step instead of 6 ms"
    )


def test_of_a_speedup_a_wait_is_the_limit_and_nothing_that_became_slower():
    baseline = [row("matrix_products", 0.010), row("casts_and_copies", 0.0), row("host", 0.0)]
    candidate = [row("matrix_products", 0.004), row("casts_and_copies", 0.001), row("host", 0.004)]
    assert explain(*legs(baseline, candidate), SPEEDUP, *ASKED).cause == "limited mostly by the host, 44 % of its step"
    candidate = [row("matrix_products", 0.006), row("casts_and_copies", 0.0), row("host", 0.002)]
    assert explain(*legs(baseline, candidate), SPEEDUP, *ASKED).cause == (
        "limited mostly by matrix products (75 % of its step, 1.67× as fast as in fp32)"
    )


def test_a_slowdown_may_be_the_hosts():
    baseline, candidate = ([row("matrix_products", 0.01), row("host", seconds)] for seconds in (0.002, 0.008))
    assert explain(*legs(baseline, candidate), SPEEDUP, *ASKED).cause == (
        "held back mostly by the host: 8 ms of its step instead of 2 ms"
    )


def test_the_cause_of_a_slowdown_is_what_takes_longer():
    baseline = [row("matrix_products", 0.05), row("casts_and_copies", 0.01)]
    candidate = [row("matrix_products", 0.03), row("casts_and_copies", 0.05)]
    assert explain(*legs(baseline, candidate), SPEEDUP, *ASKED).cause == (
        "held back mostly by casts and copies: 50 ms of its step instead of 10 ms"
    )


def test_products_that_the_compiler_may_hide_have_no_bound_of_their_own():
    rows = [row("fused", 1.0), row("host", 1.0)]
    training = TrainingConfig(compile=CompileConfig(mode="max-autotune"))
    assert bound_of(legs(rows, rows)[1], SPEEDUP, training).matmul_free is None


def test_what_is_missing_is_said():
    (baseline, candidate) = legs([row("host", 1.0)], [row("host", 1.0)])
    assert why_not_explained(baseline, candidate, SPEEDUP) is None
    assert why_not_explained(baseline, candidate, None) == "no speedup was measured"
    without = candidate.model_copy(update={"time_by_kind": [], "time_by_kind_missing": "it was not profiled"})
    assert why_not_explained(baseline, without, SPEEDUP) == "bf16: it was not profiled"


@pytest.mark.anyio
async def test_measured_gains_stand_in_the_report_beside_the_estimates(monkeypatch):
    advice = Advice(name="larger_batch", text="", evidence="", estimated_gain=SPEEDUP, request={})
    monkeypatch.setattr(explanation, "advise", lambda *_: [advice])
    split = profile(kinds=[ProfiledKind(kind="host", profiled_seconds=0.012, recorded_inside=0, calls=0)])

    async def run_trial(spec, deadline_seconds, after_step):
        return simulated(spec).model_copy(update={"profile": split})

    measured = await compare(comparison(), run_trial, lambda progress: None)
    measured.candidates[0].verified["larger_batch"] = VerifiedGain(SPEEDUP)
    (compared,) = make_report("0198c0de", measured).comparisons
    assert compared.explanation.advice == [advice.model_copy(update={"measured_gain": SPEEDUP})]
