"""Adapters in a report's words: their settings, and how many parameters are trained."""

from app.reports.text.settings import adapters_lines
from halftime.contract.request.adapters import LoraConfig
from tests.factories import comparison, request, trial
from worker.messages import TrialSpec


def test_a_report_names_the_adapters_and_what_is_trained():
    asked = request()
    spec = TrialSpec(
        device="cpu", precision="fp32", block=0, position=0, model=asked.model, training=asked.config.training
    )
    results = [trial(spec, parameter_count=12_000, trained_parameter_count=1_200)]
    (line,) = adapters_lines(LoraConfig(rank=4, target_modules=["q"]), results)
    assert line == (
        "Adapters: lora (rank: 4, alpha: 8.0, dropout: 0.0, target_modules: ['q'], base_precision: fp32); "
        "1,200 of 12,000 parameters are trained."
    )


def test_without_adapters_nothing_is_said():
    assert adapters_lines(comparison().request.config.adapters, []) == []
