"""A candidate's trouble is that candidate's: the other legs are compared. The baseline's ends the benchmark."""

import pytest

from halftime.contract.models import TransformersSpec
from halftime.contract.report.failure import Failure, FailureCode
from tests.factories import comparison, request, trial
from worker.comparison.blocks import compare
from worker.comparison.leg_failures import BenchmarkFailed
from worker.errors import TrialFailed
from worker.report.build import make_report
from worker.trial.run import run_trial as really

pytestmark = pytest.mark.anyio

STAGE = "the forward pass of step 1 failed in encoder (Encoder). RuntimeError: without overflow"


async def report_of(asked, simulate):
    async def run_trial(spec, deadline_seconds, after_step):
        return simulate(spec)

    return make_report("id", await compare(comparison(asked), run_trial, lambda progress: None))


def failing(code, *precisions):
    """Trials of which those in some precisions fail."""

    def simulate(spec):
        return Failure.of(code, f"{spec.leg}: {STAGE}") if spec.precision in precisions else trial(spec)

    return simulate


@pytest.mark.parametrize("code", [FailureCode.TRAINING_FAILED, FailureCode.INVALID_MODEL])
async def test_a_candidate_that_cannot_be_trained_fails_alone(code):
    report = await report_of(request(candidates=["bf16", "fp16"]), failing(code, "bf16"))
    failed, compared = report.comparisons
    assert failed.candidate.failure.code == "training_failed", "the baseline trained the model: it is not invalid"
    assert not failed.candidate.failure.retryable
    assert (failed.verdict, failed.speedup) == ("fail", None)
    assert compared.speedup.value == 1
    assert any(STAGE in reason for reason in report.reasons)


async def test_a_baseline_that_cannot_be_trained_ends_the_benchmark_for_good():
    with pytest.raises(BenchmarkFailed) as caught:
        await report_of(request(), failing(FailureCode.TRAINING_FAILED, "fp32"))
    failure = caught.value.failure
    assert (failure.code, failure.retryable) == ("invalid_model", False)
    assert failure.detail == f"fp32: {STAGE}"


async def test_a_candidate_that_the_device_lacks_fails_alone():
    simulate = failing(FailureCode.UNSUPPORTED_PRECISION, "bf16")
    report = await report_of(request(candidates=["bf16", "fp16"]), simulate)
    assert [found.candidate.failure and found.candidate.failure.code for found in report.comparisons] == [
        "unsupported_precision",
        None,
    ]
    assert report.comparisons[1].speedup.value == 1


@pytest.mark.parametrize("lacking", [["bf16", "fp16"], ["fp32"]], ids=["every candidate", "the baseline"])
async def test_a_device_that_can_compare_nothing_ends_the_benchmark(lacking):
    with pytest.raises(BenchmarkFailed) as caught:
        simulate = failing(FailureCode.UNSUPPORTED_PRECISION, *lacking)
        await report_of(request(candidates=["bf16", "fp16"]), simulate)
    assert caught.value.failure.code == "unsupported_precision"


async def test_a_model_that_overflows_under_amp_has_a_report_that_names_its_module():
    """DeBERTa masks with a number that FP32 holds and BF16 does not."""
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "max_position_embeddings": 64}
    model = TransformersSpec(
        model_type="deberta",
        task="masked-lm",
        config=sizes | {"num_hidden_layers": 1, "num_attention_heads": 2},
        sequence_length=16,
    )

    def simulate(spec):
        try:
            return really(spec, lambda step: None)
        except TrialFailed as error:
            return error.failure

    report = await report_of(request().model_copy(update={"model": model}), simulate)
    failure = report.comparisons[0].candidate.failure
    assert failure.code == "training_failed"
    assert "layer.0.attention.self (DisentangledSelfAttention)" in failure.detail
    assert "without overflow" in failure.detail
    assert report.baseline.median_step_seconds is not None
