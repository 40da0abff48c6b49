"""Faults in a comparison: which ones make its report invalid, and which ones its order of blocks protects from."""

from dataclasses import replace

import pytest
import torch

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import AttestationCheck
from halftime.contract.request.request import Requirements
from halftime.contract.resources.worker import WorkerDevice
from testing import coverage
from testing.slow_machines import SCENARIOS
from tests.factories import comparison, data_of, gpu_telemetry, request, telemetry, trial
from worker.comparison import blocks as comparing
from worker.comparison import estimates
from worker.comparison.blocks import compare
from worker.device import device
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.proof.observed_step import observe_step
from worker.proof.probes import probe_precision
from worker.report.attestation import attest
from worker.report.build import make_report
from worker.training.loop import prepare
from worker.training.precision import PRECISIONS, read_flags, set_flags
from worker.training.precision_facts import expected_flags
from worker.trial import preparation
from worker.trial import run as trials


async def report_of(simulate, benchmark_request=None):
    async def run_trial(spec, deadline_seconds, after_step):
        return simulate(spec)

    return make_report("id", await compare(comparison(benchmark_request), run_trial, lambda progress: None))


def really(spec):
    return trials.run_trial(spec, lambda step: None)


def changed(result, **attestation):
    return result.model_copy(update={"attestation": result.attestation.model_copy(update=attestation)})


@pytest.mark.anyio
async def test_a_fair_comparison_of_real_trials_is_attested():
    report = await report_of(really, request(candidates=["bf16", "fp16"]))
    assert report.attestation.ok, [check for check in report.attestation.checks if not check.ok]
    assert report.verdict != "invalid"


@pytest.mark.anyio
@pytest.mark.parametrize(("planted", "caught"), [("weights", "initial_weights"), ("data", "data_order")])
async def test_unequal_weights_or_data_make_the_report_invalid(monkeypatch, planted, caught):
    """Plant the fault in the trial itself: one leg's weights or data differ."""
    if planted == "weights":
        make_blueprint = preparation.blueprint_of

        def blueprint_of(spec):
            blueprint = make_blueprint(spec)

            def build():
                torch.rand(1)  # one extra draw advances the generator
                return blueprint.build()

            return replace(blueprint, build=build)

        fault = ("blueprint_of", blueprint_of)
    else:
        make = preparation.make_data

        def make_data(*arguments):
            data = make(*arguments)
            return type(data)(data.training[::-1], data.validation, data.facts)

        fault = ("make_data", make_data)

    def simulate(spec):
        with monkeypatch.context() as patch:
            if spec.precision == "bf16":
                patch.setattr(preparation, *fault)
            return really(spec)

    report = await report_of(simulate)
    assert report.verdict == "invalid"
    assert [check.name for check in report.attestation.checks if not check.ok] == [caught]
    assert any(caught in reason for reason in report.reasons)


@pytest.mark.anyio
async def test_tf32_left_on_in_the_fp32_leg_makes_the_report_invalid():
    def simulate(spec):
        flags = expected_flags(PRECISIONS["tf32"]) if spec.precision == "fp32" else None
        return changed(trial(spec), **({"flags": flags} if flags else {}))

    report = await report_of(simulate)
    assert report.verdict == "invalid"
    assert "flags" in report.reasons[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_probe_detects_the_precision_it_runs_in(precision):
    set_flags(PRECISIONS[precision])
    assert all(probe.ok for probe in probe_precision(PRECISIONS[precision], torch.device("cpu")))


@pytest.mark.anyio
@pytest.mark.parametrize("bits", [10, 7], ids=["as TF32 rounds", "as BF16 rounds"])
async def test_an_fp32_leg_that_rounds_its_operands_is_invalid_whatever_its_flags_say(monkeypatch, bits):
    """Plant the fault under the probe: a kernel that keeps fewer bits of each operand."""
    exact = torch.matmul

    def rounding(left, right):
        return exact(
            *(_rounded(operand, bits) if operand.dtype is torch.float32 else operand for operand in (left, right))
        )

    monkeypatch.setattr(torch, "matmul", rounding)
    report = await report_of(really)
    assert report.verdict == "invalid"
    failed = {(check.leg, check.name) for check in report.attestation.checks if not check.ok}
    assert ("fp32", "matmul_probe") in failed


def _rounded(values, bits):
    """Values rounded to this many explicit mantissa bits."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2 ** (bits + 1)).round() / 2 ** (bits + 1), exponent)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["tf32", "bf16"])
async def test_a_mode_of_onednn_left_on_is_detected_in_the_flags(monkeypatch, mode):
    """Plant the fault in the real trial: after the switches are set, one of the CPU's is changed."""

    def careless(precision):
        set_flags(precision)
        torch.backends.mkldnn.matmul.fp32_precision = mode

    monkeypatch.setattr(preparation, "set_flags", careless)
    report = await report_of(really)
    set_flags(PRECISIONS["fp32"])
    assert report.verdict == "invalid"
    assert ("fp32", "flags") in {(check.leg, check.name) for check in report.attestation.checks if not check.ok}


@pytest.mark.anyio
async def test_autocast_off_in_the_amp_leg_makes_the_report_invalid(monkeypatch):
    """Plant the fault in the real trial: its autocast does nothing."""
    prepare = trials.prepare

    def without_autocast(model, task, precision, settings, device):
        return prepare(model, task, PRECISIONS["fp32"], settings, device)

    monkeypatch.setattr(trials, "prepare", without_autocast)
    report = await report_of(really)
    assert report.verdict == "invalid"
    assert [(check.leg, check.name) for check in report.attestation.checks if not check.ok] == [
        ("bf16", "forward_dtypes"),
        ("bf16", "multiplied_dtypes"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["NVIDIA_TF32_OVERRIDE", "CUDA_LAUNCH_BLOCKING", "PYTORCH_NO_CUDA_MEMORY_CACHING"])
async def test_an_environment_override_makes_the_report_invalid(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    report = await report_of(really)
    assert report.verdict == "invalid"
    assert name in report.reasons[0]


@pytest.mark.anyio
async def test_a_variable_that_overrides_nothing_is_recorded_and_leaves_the_report_valid(monkeypatch):
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512")
    report = await report_of(really)
    assert report.verdict != "invalid"
    recorded = report.baseline.trials[0].attestation.environment
    assert recorded["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:512"


def test_torch_s_defaults_are_not_ieee_and_every_switch_is_set_and_read_back():
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    set_flags(PRECISIONS["fp32"])
    assert read_flags() == expected_flags(PRECISIONS["fp32"])
    set_flags(PRECISIONS["tf32"])
    assert {name for name, value in read_flags().items() if value == "tf32"} == {
        "cuda.matmul",
        "cudnn.conv",
        "cudnn.rnn",
    }
    set_flags(PRECISIONS["fp32"])


class FakeCuda:
    """Fake of CUDA's allocator statistics."""

    def __init__(self, allocated, peak, resets=True):
        self.allocated, self.peak, self.resets, self.calls = allocated, peak, resets, []

    def empty_cache(self):
        self.calls.append("empty_cache")

    def reset_peak_memory_stats(self, _):
        self.calls.append("reset_peak_memory_stats")
        if self.resets:
            self.peak = self.allocated

    def memory_allocated(self, _):
        return self.allocated

    def max_memory_allocated(self, _):
        return self.peak


CUDA = torch.device("cuda", 0)


def test_the_cache_is_emptied_before_the_peak_is_reset():
    cuda = FakeCuda(allocated=512, peak=2**30)
    assert device.reset_memory(CUDA, cuda) == 512
    assert cuda.calls == ["empty_cache", "reset_peak_memory_stats"]


@pytest.mark.parametrize(
    "cuda",
    [FakeCuda(allocated=512, peak=2**30, resets=False), FakeCuda(allocated=2**24, peak=2**24)],
    ids=["peak not reset", "memory held"],
)
def test_a_trial_that_does_not_start_empty_fails(cuda):
    with pytest.raises(TrialFailed, match="did not start with empty device memory"):
        device.reset_memory(CUDA, cuda)


@pytest.mark.anyio
async def test_a_slow_drift_cancels_over_blocks_and_would_not_in_a_fixed_order(monkeypatch):
    """The legs are identical; the machine slows by 10 % over the job."""
    benchmark_request = request(measurement={"min_blocks": 6, "max_blocks": 6})

    async def speedup():
        clock = iter(range(100))
        report = await report_of(
            lambda spec: trial(spec, step_seconds=0.01 * (1 + 0.1 * next(clock) / 12)), benchmark_request
        )
        return report.comparisons[0].speedup

    ours = await speedup()
    assert ours.ci_low <= 1 <= ours.ci_high
    monkeypatch.setattr(comparing, "order_of_block", lambda legs, block: legs)
    fixed = await speedup()
    assert not fixed.ci_low <= 1 <= fixed.ci_high


OUTLIER_BLOCK = 3


def with_outlier(benchmark_request, times=1, explained=True):
    """Report of identical legs; one baseline trial takes 30 % longer in its first `times` runs."""
    runs = []

    def simulate(spec):
        struck = spec.precision == "fp32" and spec.block == OUTLIER_BLOCK and runs.count(spec.name) < times
        runs.append(spec.name)
        seconds = 0.013 if struck else 0.01 * (1 + 0.001 * (spec.seed % 3))
        measured_telemetry = telemetry(foreign_cores=8.0 if struck and explained else 0.0)
        return trial(spec, step_seconds=seconds, telemetry=measured_telemetry)

    return report_of(simulate, benchmark_request), runs


SIX_BLOCKS = {"min_blocks": 6, "max_blocks": 6}


@pytest.mark.anyio
async def test_an_outlier_that_the_machine_explains_is_run_again(monkeypatch):
    benchmark_request = request(measurement=SIX_BLOCKS)
    running, runs = with_outlier(benchmark_request)
    report = await running
    assert report.baseline.repeated_trials == 1
    assert report.baseline.disturbed_trials == 0
    assert len(runs) == 13
    assert max(max(one.step_seconds) for one in report.baseline.trials) < 0.011
    monkeypatch.setattr(comparing, "disturbances", lambda trial, others: [])
    running, _ = with_outlier(benchmark_request)
    assert max(max(one.step_seconds) for one in (await running).baseline.trials) == 0.013


@pytest.mark.anyio
async def test_a_trial_disturbed_in_every_repetition_is_kept_and_flagged():
    running, runs = with_outlier(request(measurement=SIX_BLOCKS), times=99)
    report = await running
    assert (report.baseline.repeated_trials, report.baseline.disturbed_trials) == (2, 1)
    assert report.baseline.trials[OUTLIER_BLOCK].disturbances
    assert any("1 of 6 trials were disturbed (block 4)" in warning for warning in report.warnings)
    assert len(runs) == 14


@pytest.mark.anyio
async def test_a_disturbed_trial_is_kept_if_its_repetition_fails():
    runs = []

    def simulate(spec):
        runs.append(spec.name)
        if runs.count(spec.name) > 1:
            return Failure.of(FailureCode.INTERNAL, "killed")
        return trial(spec, telemetry=telemetry(foreign_cores=8.0 if spec.block == 1 else 0.0))

    report = await report_of(simulate, request(measurement={"min_blocks": 2, "max_blocks": 2}))
    assert report.baseline.disturbed_trials == report.comparisons[0].candidate.disturbed_trials == 1


@pytest.mark.anyio
async def test_every_trial_even_the_first_is_compared_with_all_others_of_its_leg():
    def simulate(spec):
        slow = spec.block == 0
        return trial(spec, ceiling_flops_per_second=1e8 if slow else 1e9)

    report = await report_of(simulate, request(measurement=SIX_BLOCKS))
    assert [bool(one.disturbances) for one in report.baseline.trials] == [True] + [False] * 5


@pytest.mark.anyio
async def test_a_ceiling_of_a_disturbed_trial_proves_nothing():
    """All trials are disturbed, and every ceiling is far below the training rate: the load explains it."""
    busy = telemetry(foreign_cores=8.0)
    report = await report_of(
        lambda spec: trial(spec, telemetry=busy, ceiling_flops_per_second=1.0, least_flops_per_step=10**6)
    )
    assert report.verdict != "invalid"
    assert "plausible_throughput" not in {check.name for check in report.attestation.checks}


@pytest.mark.anyio
async def test_a_machine_that_is_never_quiet_causes_a_limited_number_of_repetitions():
    busy = telemetry(foreign_cores=8.0)
    report = await report_of(lambda spec: trial(spec, telemetry=busy), request(measurement=SIX_BLOCKS))
    legs = [report.baseline, report.comparisons[0].candidate]
    assert sum(leg.repeated_trials for leg in legs) == comparing.MAX_TOTAL_REPEATS
    assert sum(leg.disturbed_trials for leg in legs) == 12


@pytest.mark.anyio
async def test_an_outlier_that_nothing_explains_gives_no_confident_wrong_verdict(monkeypatch):
    """The legs are identical: the true ratio is 1.0, and the mean of the blocks is 1.045."""
    benchmark_request = request(measurement=SIX_BLOCKS)
    benchmark_request = benchmark_request.model_copy(update={"requirements": Requirements(min_speedup=1.02)})

    async def status():
        running, _ = with_outlier(benchmark_request, explained=False)
        report = await running
        return report.comparisons[0].requirements[0].status

    assert await status() == "inconclusive"
    monkeypatch.setattr(estimates, "t_half_width", lambda sample, size: 0.01)
    assert await status() == "pass"


@pytest.mark.anyio
async def test_work_faster_than_the_device_can_do_it_makes_the_report_invalid(monkeypatch):
    """Plant the fault in the real trial: its clock runs a million times too slowly."""
    make_clock = trials.make_clock

    def slow_clock(device, marks):
        clock = make_clock(device, marks)
        measured = clock.step_seconds
        clock.step_seconds = lambda: [seconds / 1e6 for seconds in measured()]
        return clock

    monkeypatch.setattr(trials, "make_clock", slow_clock)
    report = await report_of(really)
    assert report.verdict == "invalid"
    assert {check.name for check in report.attestation.checks if not check.ok} == {"plausible_throughput"}


@pytest.mark.anyio
async def test_foreign_work_on_the_gpu_makes_the_report_invalid():
    crowded = telemetry(gpu_telemetry(foreign_processes=["process 7, 1024 MiB"]))
    report = await report_of(lambda spec: trial(spec, telemetry=crowded))
    assert report.verdict == "invalid"
    assert "process 7, 1024 MiB" in report.reasons[0]


@pytest.mark.anyio
async def test_a_synchronisation_in_the_measured_loop_is_reported(monkeypatch):
    """On a GPU, host time equals device time if each step waits; the observed step shows which operation waits."""
    gpu = WorkerDevice(name="cuda:0", kind="cuda", gpu="a GPU", memory_bytes=2**36)

    async def warnings(**changes):
        async def run_trial(spec, deadline_seconds, after_step):
            return trial(spec, telemetry=telemetry(gpu_telemetry()), **changes)

        benchmark_request = request(device="cuda", candidates=["bf16"])
        measured = await compare(comparison(benchmark_request, gpu), run_trial, lambda progress: None)
        return " ".join(make_report("id", measured).warnings)

    assert "waits" not in await warnings(host_issue_seconds=0.001)
    assert "launch-bound" not in await warnings(host_issue_seconds=0.001)
    assert "launch-bound" in await warnings()
    assert "launch-bound" in await warnings(final_wait_seconds=0.0001)
    assert "launch-bound" not in await warnings(final_wait_seconds=0.005)  # the device is behind: its queue was full
    assert "every step waits for the device (aten::_local_scalar_dense × 1)" in await warnings(
        synchronisations=["aten::_local_scalar_dense × 1"]
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("device", "pinned", "warned"), [("cuda", False, True), ("cuda", True, False), ("cpu", False, False)]
)
async def test_batches_from_memory_that_is_not_page_locked_are_reported(device, pinned, warned):
    async def run_trial(spec, deadline_seconds, after_step):
        return trial(spec, telemetry=telemetry(gpu_telemetry()))

    benchmark_request = request(
        device=device, candidates=["bf16"], data={"kind": "synthetic", "loader": {"pin_memory": pinned}}
    )
    worker = WorkerDevice(name=device, kind=device, gpu=None, memory_bytes=2**36)
    report = make_report("id", await compare(comparison(benchmark_request, worker), run_trial, lambda progress: None))
    assert any("pin_memory" in warning for warning in report.warnings) is warned


def test_a_step_that_reads_a_value_from_the_device_is_detected():
    benchmark_request = request()
    run = prepare(
        blueprint_of(benchmark_request.model).build(),
        blueprint_of(benchmark_request.model).task,
        PRECISIONS["bf16"],
        benchmark_request.config.training,
        torch.device("cpu"),
    )
    batch = data_of(benchmark_request.model, benchmark_request.config.training).training[0]
    assert observe_step(run, batch).synchronisations == []
    run.model.register_forward_hook(lambda module, inputs, result: result * float(result.detach().max() > -1e9))
    assert observe_step(run, batch).synchronisations == ["aten::_local_scalar_dense × 1"]


def test_autocorrelated_noise_would_bias_verdicts_if_blocks_alternated(monkeypatch):
    """Plant the fault in the order of blocks: ABBA repeated, where ours is ABBA BAAB."""

    def wrong():
        jobs = coverage.simulate(SCENARIOS["autocorrelated"], true_ratio=1.5, jobs=10_000, seed=2)["trials"]
        return jobs.passes().mean() + jobs.fails().mean()

    ours = wrong()
    monkeypatch.setattr(coverage, "baseline_first", lambda block: block % 2 == 0)
    assert ours < 0.058
    assert wrong() > 0.070


def test_a_failed_check_names_expected_and_observed_values():
    measured = comparison()
    spec = TrialSpec(
        device="cpu",
        precision="bf16",
        block=0,
        position=0,
        model=measured.request.model,
        training=measured.request.config.training,
    )
    measured.candidates[0].trials = [changed(trial(spec), forward_dtypes={"Linear": ["float32"]})]
    measured.blocks = 1
    failed = [check for check in attest(measured).checks if not check.ok]
    assert failed == [
        AttestationCheck(leg="bf16", name="forward_dtypes", expected="bfloat16", observed="float32", ok=False)
    ]
