"""The list of advice: its order, its length, its requests, and what holds for any split of a step."""

import json
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import LEAST_ADVISED_GAIN, Advice, WorkKind
from halftime.contract.request.request import BenchmarkRequest
from tests.worker.explain.advice.reported import CPU, GPU, advice_on, asked, exactly, plain_trial, row
from worker.comparison.comparison_run import VerifiedGain, applied_share
from worker.explain.advice import MOST_ADVICE, RULES
from worker.explain.advice.measured import UNKNOWN, with_measured
from worker.explain.advice.requests import changed

#: Much of everything is wrong with this step.
BAD = [
    row("matrix_products", 4, "launches", 0.3, calls=3),
    row("elementwise", 4, "memory", 0.5, calls=60),
    row("softmax_and_loss", 4, "memory", 0.5, calls=60),
    row("optimizer", 4, "memory", 0.1, least_bytes=56e6),
    row("host", 4),
]
EAGER = {
    "kind": "transformers",
    "preset": "gpt2",
    "config": {"n_layer": 2, "attn_implementation": "eager"},
}
SETTINGS = {"optimizer_implementation": "foreach", "activation_checkpointing": True}


@pytest.fixture(autouse=True)
def _with_a_compiler(monkeypatch):
    monkeypatch.setattr("worker.explain.advice.compiling.why_no_compiler", lambda device: None)


def bad(device=GPU):
    request = asked(EAGER, device, SETTINGS)
    return advice_on(BAD, request, device, BAD, fused_optimizer=False, trained_parameter_count=10**6)


def test_the_most_promising_change_is_first_and_there_are_few():
    found = list(bad().values())
    gains = [one.estimated_gain.value for one in found]
    assert len(found) == MOST_ADVICE
    assert gains == sorted(gains, reverse=True)
    assert min(gains) >= LEAST_ADVISED_GAIN


def test_every_request_is_complete_and_valid():
    for one in bad().values():
        request = BenchmarkRequest.model_validate_json(json.dumps(one.request))
        assert request.model_dump(mode="json") == one.request
        assert request.config.baseline == "fp32"


def test_advice_needs_no_words_that_only_its_rules_know():
    text = " ".join(f"{one.text} {one.evidence}" for one in bad().values())
    assert "operations" in text
    assert not re.search(r"\b(launch|gaps?|host)", text)


def test_a_change_that_makes_no_valid_request_is_none():
    assert changed(asked(), config__training__batch_size=65_537) is None


def test_the_address_of_a_webhook_may_be_secret():
    body = asked().model_dump(mode="json") | {"webhook": {"url": "https://example.org/hooks/secret"}}
    request = BenchmarkRequest.model_validate_json(json.dumps(body))
    assert "secret" not in json.dumps(changed(request, config__training__batch_size=4))


def test_a_candidate_without_a_trial_gets_no_advice():
    assert advice_on(BAD, leg={"trials": []}) == {}


def test_without_a_split_there_is_nothing_to_go_by():
    assert advice_on([]) == {}


@pytest.mark.parametrize(
    ("workers", "waits", "saves"),
    [(1, 0.5, False), (1, 0.05, True), (0, 0.5, True)],
    ids=["processes limit training", "hardly", "loading is part of a step"],
)
def test_where_processes_that_load_data_limit_training_nothing_else_gains(workers, waits, saves):
    data = {"kind": "synthetic", "loader": {"workers": workers}}
    environment = plain_trial().environment.model_copy(update={"threads": 8})
    request = asked(device=GPU, data=data)
    found = advice_on(BAD, request, GPU, BAD, leg={"data_wait_share": waits}, environment=environment)
    assert ("more_loader_workers" in found) is (waits == 0.5)
    assert bool(found.keys() - {"more_loader_workers"}) is saves


rows_of_a_step = st.lists(
    st.builds(
        row,
        st.sampled_from(get_args(WorkKind)),
        st.floats(min_value=0, max_value=1000),
        st.sampled_from(["compute", "memory", "launches", None]),
        st.one_of(st.none(), st.floats(min_value=0, max_value=1.5)),
        st.floats(min_value=0, max_value=1e6),
        st.one_of(st.none(), st.floats(min_value=0, max_value=1e12)),
    ),
    unique_by=lambda one: one.kind,
)


@given(rows=rows_of_a_step, device=st.sampled_from([CPU, GPU]), waits=st.one_of(st.none(), st.floats(0, 1)))
def test_whatever_the_step_a_gain_is_at_least_one_and_within_its_range(rows, device, waits):
    request = asked(EAGER, device, SETTINGS, data={"kind": "synthetic", "loader": {"workers": 1}})
    found = advice_on(rows, request, device, rows, 1.5, 1.6, leg={"data_wait_share": waits}, fused_optimizer=False)
    for one in found.values():
        gain = one.estimated_gain
        least = 0 if one.name == "tf32_first" else 1  # the candidate may be faster than TF32
        assert least <= gain.ci_low <= gain.value <= gain.ci_high < float("inf"), one


def given_advice(low, value, high, name="compile"):
    gain = Estimate(value=value, ci_low=low, ci_high=high)
    return Advice(name=name, text="", evidence="", estimated_gain=gain, request={})


@pytest.mark.parametrize(("measured", "said"), [(1.3, None), (1.9, None), (1.1, "less than"), (2.1, "more than")])
def test_a_measured_gain_outside_the_range_of_the_estimate_has_a_remark(measured, said):
    verified = {"compile": VerifiedGain(exactly(measured))}
    one, other = with_measured([given_advice(1.2, 1.5, 2), given_advice(1, 1.2, 2, "tf32_first")], verified)
    assert one.measured_gain == exactly(measured)
    assert (one.remark is None) if said is None else (said in one.remark)
    assert (other.measured_gain, other.remark) == (None, None)


def test_a_measured_gain_far_from_the_estimate_has_a_remark_though_its_range_be_wide():
    verified = {"compile": VerifiedGain(Estimate(value=2.4, ci_low=1.9, ci_high=2.9))}
    (one,) = with_measured([given_advice(1.2, 1.5, 2)], verified)
    assert "more than" in one.remark


def test_what_was_not_measured_says_why():
    (one,) = with_measured([given_advice(1, 1.5, 2)], {"compile": VerifiedGain(None, "Not measured: no time.")})
    assert (one.measured_gain, one.remark) == (None, "Not measured: no time.")


def test_every_rule_says_what_its_estimate_does_not_know():
    rules = {rule.__name__.replace("compile_the_model", "compile") for rule in RULES}
    assert UNKNOWN.keys() == rules


def test_steps_that_the_scaler_skips_do_not_count():
    one = plain_trial("fp16")
    skipping = one.grad_scaler.model_copy(update={"skipped_steps": [4, 5, 6]})
    assert applied_share(one) == 1
    assert applied_share(one.model_copy(update={"grad_scaler": skipping})) == pytest.approx(1 - 2 / 25)
