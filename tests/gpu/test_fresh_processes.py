"""Tests that need a CUDA device, with trials in processes of their own, as a worker runs them.

No test here may use CUDA in this process: its context would count as foreign work during the trials.
"""

import os
import subprocess
import sys

import pytest

from app.reports.markdown import to_markdown
from halftime.contract.models import MlpSpec, TransformerSpec
from halftime.contract.report.trial import NEAR_ZERO_BYTES
from halftime.contract.request.training import TrainingConfig
from tests.factories import CPU, request
from worker.agent.launcher import TrialLauncher
from worker.comparison.blocks import compare
from worker.comparison.comparison_run import ComparisonRun
from worker.device import nvml
from worker.device.detection import detect, gpu_count
from worker.device.gpu_sampler import MIN_ENERGY_REGION_SECONDS
from worker.messages import TrialSpec
from worker.report.build import make_report
from worker.report.warnings.weights import MIN_EXPLAINED_ERROR
from worker.training.precision import PRECISIONS
from worker.training.precision_facts import FACTS

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpu_count(), reason="no CUDA device"), pytest.mark.anyio]

SMALL = TransformerSpec(vocab_size=256, hidden_size=256, num_layers=2, num_heads=4, sequence_length=128)
DEVICE = "cuda:0"


#: Activations of one FP32 sample of the large transformer, as measured: 436 MiB.
SAMPLE_BYTES = 436 * 2**20


def runs_on_the_device(precision):
    """Whether the device has the precision: TF32 and BF16 need compute capability 8.0. NVML needs no CUDA context."""
    if precision in {"fp32", "fp16"} or not gpu_count():
        return True
    with nvml.opened() as library:
        handle = nvml.handle_of(library, DEVICE)
        return tuple(library.nvmlDeviceGetCudaComputeCapability(handle)) >= (8, 0)


def only_where_it_runs(precision):
    missing = not runs_on_the_device(precision)
    return pytest.param(precision, marks=pytest.mark.skipif(missing, reason="needs compute capability 8.0"))


PRECISIONS_OF_THE_DEVICE = [only_where_it_runs(precision) for precision in PRECISIONS]


def spec(precision, model=SMALL, **settings):
    config = TrainingConfig(**{"batch_size": 16, "steps": 12, "warmup_steps": 4} | settings)
    return TrialSpec(device=DEVICE, precision=precision, block=0, position=0, model=model, training=config)


async def in_a_fresh_process(trial_spec):
    outcome, logs = await TrialLauncher().run(trial_spec, 300, lambda step: None)
    return outcome, logs


@pytest.mark.parametrize("precision", PRECISIONS_OF_THE_DEVICE)
async def test_every_precision_trains_in_a_fresh_process(precision):
    result, logs = await in_a_fresh_process(spec(precision))
    assert logs == ""
    assert result.memory.source == "cuda_allocator"
    assert result.memory.start_bytes <= NEAR_ZERO_BYTES
    assert result.memory.breakdown.total_bytes() == result.memory.peak_bytes
    assert result.memory.peak_bytes <= result.memory.peak_reserved_bytes
    assert result.applied_steps + (len(result.grad_scaler.skipped_steps) if result.grad_scaler else 0) == 12
    dtype = str(PRECISIONS[precision].matmul_dtype).removeprefix("torch.")
    assert result.attestation.forward_dtypes == {"Linear": [dtype]}
    assert result.synchronisations == []
    assert all(probe.ok for probe in result.attestation.probes)
    gpu = result.telemetry.gpu
    assert gpu.samples >= 1
    assert gpu.sm_clock_mhz.median > 0
    assert gpu.largest_used_bytes >= result.memory.peak_reserved_bytes
    assert gpu.foreign_processes == []


@pytest.mark.parametrize("precision", PRECISIONS_OF_THE_DEVICE)
async def test_rounding_explains_the_error_of_a_step_against_fp64(precision):
    result, _ = await in_a_fresh_process(spec(precision).model_copy(update={"examined": True}))
    numerics = result.numerics
    assert numerics.gradient_relative_rmse < FACTS[precision].max_error_ratio * max(
        numerics.explained_relative_rmse, MIN_EXPLAINED_ERROR
    )


async def test_energy_is_reported_for_a_long_enough_region():
    result, _ = await in_a_fresh_process(spec("fp32", steps=2000))
    long_enough = result.measured_wall_seconds >= MIN_ENERGY_REGION_SECONDS
    assert (result.telemetry.gpu.energy_joules is not None) is long_enough
    assert result.telemetry.gpu.energy_joules is None or result.telemetry.gpu.energy_joules > 0


async def test_a_memory_limit_is_kept():
    limited = spec("fp32").model_copy(update={"memory_limit_bytes": 2**26})
    outcome, _ = await in_a_fresh_process(limited)
    assert outcome.code == "out_of_memory"


async def test_a_model_that_does_not_fit_is_out_of_memory_and_the_next_trial_succeeds():
    width = 16_384
    layers = detect(DEVICE).memory_bytes // (width * width * 4 * 3) + 2
    outcome, _ = await in_a_fresh_process(spec("fp32", MlpSpec(hidden_size=width, num_layers=min(layers, 512))))
    assert outcome.code == "out_of_memory"
    result, _ = await in_a_fresh_process(spec("fp32"))
    assert result.applied_steps == 12


async def test_a_comparison_of_a_transformer_that_fills_the_card():
    """FP32 against TF32, FP16 and BF16 as far as the card has them, in fresh processes; the precisions are attested."""
    memory = detect(DEVICE).memory_bytes
    batch_size = max(8, int(memory * 0.5 / SAMPLE_BYTES) // 8 * 8)
    benchmark_request = request(
        device="cuda",
        candidates=[precision for precision in ("tf32", "fp16", "bf16") if runs_on_the_device(precision)],
        training={"batch_size": batch_size, "steps": 15, "warmup_steps": 5},
    ).model_copy(
        update={
            "model": TransformerSpec(
                vocab_size=8192, hidden_size=1024, num_layers=12, num_heads=16, sequence_length=512
            )
        }
    )
    launcher = TrialLauncher()

    async def run_trial(trial_spec, deadline_seconds, after_step):
        outcome, _ = await launcher.run(trial_spec, deadline_seconds, after_step)
        return outcome

    measured = await compare(ComparisonRun.of(benchmark_request, detect(DEVICE)), run_trial, lambda progress: None)
    report = make_report("gpu", measured)
    assert report.attestation.ok, [check for check in report.attestation.checks if not check.ok]
    assert all(comparison.speedup is not None for comparison in report.comparisons)
    assert report.environment.device != CPU.name
    print(to_markdown(report))


def test_the_forkserver_s_preload_leaves_cuda_to_its_children():
    """`torch.cuda.is_initialized()` is not enough: counting devices also makes CUDA unusable after a fork."""
    code = (
        "import importlib, os, torch\n"
        "from worker.agent.launcher import PRELOADED\n"
        "for module in PRELOADED: importlib.import_module(module)\n"
        "child = os.fork()\n"
        "if not child: os._exit(bool(torch.cuda._is_in_bad_fork()) or not torch.cuda.is_available())\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0
