"""Reports on `bf16-true`, from real training: one where BF16 weights suffice, one where they lose the updates."""

import pytest

from halftime.contract.request.request import BenchmarkRequest
from tests.factories import CPU, comparison, telemetry
from worker.comparison.blocks import compare
from worker.report.build import make_report
from worker.trial.run import run_trial

pytestmark = pytest.mark.anyio


async def report_of(**training):
    """A report on a small MLP in two blocks; a busy machine does not repeat them."""
    body = {
        "model": {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1, "num_classes": 4},
        "config": {
            "device": "cpu",
            "candidates": ["bf16-true"],
            "training": {"batch_size": 32, "warmup_steps": 2, "learning_rate": 0.01} | training,
            "measurement": {"min_blocks": 2, "max_blocks": 2},
        },
        "requirements": {
            "min_speedup": None,
            "min_memory_reduction_percent": None,
            "max_accuracy_difference": None,
            "max_loss_difference": 0.1,
        },
    }

    async def run(spec, deadline_seconds, after_step):
        return run_trial(spec, after_step).model_copy(update={"telemetry": telemetry()})

    asked = BenchmarkRequest.model_validate(body)
    return make_report("id", await compare(comparison(asked, CPU), run, lambda progress: None))


async def test_where_updates_are_large_enough_it_passes():
    report = await report_of(steps=200)
    assert report.verdict == "pass"
    assert {(check.leg, check.observed) for check in report.attestation.checks if check.name == "held_dtypes"} == {
        ("fp32", "float32"),
        ("bf16-true", "bfloat16"),
    }
    assert not [warning for warning in report.warnings if "where they began" in warning]


async def test_where_updates_are_lost_it_fails_and_says_why():
    """Steps of plain gradient descent below half a unit in the last place of most weights."""
    report = await report_of(
        steps=800, optimizer="sgd", momentum=0.0, weight_decay=0.0, schedule="constant", learning_rate=0.02
    )
    (found,) = report.comparisons
    assert report.verdict == "fail"
    assert found.loss_difference.signed_mean < -0.1
    (warning,) = [warning for warning in report.warnings if "where they began" in warning]
    assert warning.startswith("bf16-true: 9")
    assert "updates below half of BF16's resolution" in warning
