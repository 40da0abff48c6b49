"""What is examined after training may fail, or not fit: the trial stands without it, and says what is missing."""

import pytest
import torch

from halftime.contract.models import MlpSpec
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.request import Requirements
from halftime.contract.request.training import TrainingConfig
from tests.factories import comparison, request, trial
from worker.comparison.blocks import compare
from worker.device import device as devices
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.report.build import make_report
from worker.training.loop import add_gradients
from worker.trial import examination
from worker.trial.run import run_trial

SPEC = TrialSpec(
    device="cpu",
    precision="fp32",
    block=0,
    position=0,
    model=MlpSpec(input_size=8, hidden_size=16, num_layers=1, num_classes=4),
    training=TrainingConfig(batch_size=8, steps=5, warmup_steps=2),
    examined=True,
)

#: Identical trials meet it.
LAX = request().model_copy(update={"requirements": Requirements(min_speedup=1, min_memory_reduction_percent=0)})

OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize(
    ("examination_name", "missing"),
    [
        ("observe_step", "forward_dtypes"),
        ("memory_on_cpu", "memory"),
        ("account_for_step", "memory_breakdown"),
        ("compare_with_fp64", "numerics"),
        ("measure_ceiling", "ceiling"),
        ("probe_precision", "probes"),
    ],
)
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OUT_OF_MEMORY, "out of memory"),
        (RuntimeError("\"grouped_mm\" not implemented for 'Double'"), 'RuntimeError: "grouped_mm" not implemented'),
        (TrialFailed.because(FailureCode.OUT_OF_MEMORY, "needs 9 MiB, has 1"), "needs 9 MiB, has 1"),
    ],
    ids=["out of memory", "not implemented", "no room"],
)
def test_an_examination_that_fails_costs_nothing_but_its_figure(monkeypatch, examination_name, missing, error, reason):
    monkeypatch.setattr(examination, examination_name, failing(error))
    result = run_trial(SPEC, lambda step: None)
    assert list(result.not_examined) == [missing]
    assert result.not_examined[missing].startswith(reason)
    assert len(result.step_seconds) == 3
    assert result.validation_loss > 0


def test_an_examination_that_fails_in_the_middle_of_a_step_leaves_the_scaler_ready_for_the_next(monkeypatch):
    def fail_before_the_update(run, batch):
        add_gradients(run, batch)
        run.scaler.unscale_(run.optimizer)
        raise RuntimeError("stopped")

    monkeypatch.setattr(examination, "observe_step", fail_before_the_update)
    result = run_trial(SPEC.model_copy(update={"precision": "fp16"}), lambda step: None)
    assert result.not_examined == {"forward_dtypes": "RuntimeError: stopped"}
    assert result.memory.breakdown is not None


def test_without_memory_for_a_copy_of_the_initial_weights_only_the_comparison_with_fp64_is_missing(monkeypatch):
    weights = (8 + 1) * 16 + (16 + 1) * 4

    def refuse(needed_bytes):
        if needed_bytes == 4 * weights + 12 * weights:  # the copy, gradients and two moments
            raise TrialFailed.because(FailureCode.OUT_OF_MEMORY, "no room for a copy")

    spec = SPEC.model_copy(update={"parameter_count": 1})  # the check before building asks for less
    monkeypatch.setattr(devices, "require_host_memory", refuse)
    result = run_trial(spec, lambda step: None)
    assert result.parameter_count == weights
    assert result.not_examined == {"numerics": "no room for a copy"}
    assert result.validation_loss > 0


def test_memory_keeps_its_peak_where_only_the_account_of_it_fails(monkeypatch):
    monkeypatch.setattr(examination, "account_for_step", failing(RuntimeError("frozen")))
    memory = run_trial(SPEC, lambda step: None).memory
    assert memory.peak_bytes > 0
    assert memory.breakdown is None


@pytest.mark.anyio
async def test_a_report_without_proof_of_the_dtypes_says_so_and_checks_none():
    async def simulate(spec, deadline_seconds, after_step):
        made = trial(spec, not_examined={"forward_dtypes": "out of memory"}, least_flops_per_step=None)
        return made.model_copy(update={"attestation": made.attestation.model_copy(update={"forward_dtypes": {}})})

    report = make_report("id", await compare(comparison(LAX), simulate, lambda progress: None))
    assert report.attestation.ok
    assert {one.status for one in report.comparisons[0].requirements} == {"pass", "off"}
    assert report.verdict == "inconclusive", "nothing proves that the candidate was one"
    assert "bf16: no step could be observed, so the dtype of its matrix products is unproven" in report.reasons
    assert not {"forward_dtypes", "plausible_throughput"} & {check.name for check in report.attestation.checks}
    assert "bf16: no check of the dtypes of its matrix products: out of memory." in report.warnings


@pytest.mark.anyio
async def test_a_report_without_probes_says_that_the_arithmetic_is_unproven():
    async def simulate(spec, deadline_seconds, after_step):
        return trial(spec, not_examined={"probes": "out of memory"})

    report = make_report("id", await compare(comparison(LAX), simulate, lambda progress: None))
    assert report.attestation.ok
    assert report.verdict == "inconclusive"
    why = "bf16: the probes could not run, so the arithmetic of its matrix products is unproven"
    assert why in report.reasons
    assert "bf16: no probe of its arithmetic: out of memory." in report.warnings


@pytest.mark.parametrize("implementation", ["fused", "foreach"])
def test_a_schedule_has_rates_for_the_steps_of_all_examinations(implementation):
    training = SPEC.training.model_copy(update={"optimizer_implementation": implementation})
    result = run_trial(SPEC.model_copy(update={"training": training, "explained": True}), lambda step: None)
    assert result.not_examined == {}
    assert result.profile is not None
