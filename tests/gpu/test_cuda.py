"""What only a CUDA device can show. Needs Python, torch and the wheels of Halftime's dependencies, nothing else."""

import os
import subprocess
import sys

import pytest
import torch

from app.contract.models import MlpSpec, TransformerSpec
from app.contract.training import TrainingConfig
from app.reports.markdown import to_markdown
from tests.factories import CPU, data_of, request
from worker import training
from worker.clock import make_clock
from worker.comparison import Comparison, compare
from worker.device import NEAR_ZERO_BYTES, TrialFailed, detect, gpu_count, reset_memory
from worker.launcher import TrialLauncher
from worker.messages import TrialSpec
from worker.models import build_model
from worker.precision import PRECISIONS, set_flags
from worker.proof.probes import probe_precision
from worker.report import make_report
from worker.telemetry.gpu import LEAST_ENERGY_REGION_SECONDS
from worker.trial import run_trial
from worker.warnings import FAR_OUTSIDE, LEAST_EXPLAINED

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpu_count(), reason="no CUDA device"), pytest.mark.anyio]

SMALL = TransformerSpec(vocab_size=256, hidden_size=256, num_layers=2, num_heads=4, sequence_length=128)
DEVICE = "cuda:0"


def spec(precision, model=SMALL, **settings):
    config = TrainingConfig(**{"batch_size": 16, "steps": 12, "warmup_steps": 4} | settings)
    return TrialSpec(device=DEVICE, precision=precision, block=0, position=0, model=model, training=config)


async def in_a_fresh_process(trial_spec):
    outcome, logs = await TrialLauncher().run(trial_spec, 300, lambda step: None)
    return outcome, logs


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
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


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
async def test_rounding_explains_how_far_a_step_is_from_fp64(precision):
    result, _ = await in_a_fresh_process(spec(precision).model_copy(update={"examined": True}))
    found = result.numerics
    assert found.gradient_relative_rmse < FAR_OUTSIDE * max(found.explained_relative_rmse, LEAST_EXPLAINED)


async def test_energy_is_told_of_a_region_long_enough():
    result, _ = await in_a_fresh_process(spec("fp32", steps=2000))
    long_enough = result.measured_wall_seconds >= LEAST_ENERGY_REGION_SECONDS
    assert (result.telemetry.gpu.energy_joules is not None) is long_enough
    assert result.telemetry.gpu.energy_joules is None or result.telemetry.gpu.energy_joules > 0


async def test_a_memory_limit_is_kept():
    limited = spec("fp32").model_copy(update={"memory_limit_bytes": 2**26})
    outcome, _ = await in_a_fresh_process(limited)
    assert outcome.code == "out_of_memory"


@pytest.mark.parametrize("backend", ["cuda.matmul", "cudnn.conv"])
def test_tf32_left_on_in_the_fp32_leg_is_caught_by_the_probe_itself(monkeypatch, backend):
    """The fault is planted in cuBLAS and cuDNN, after the flags were read."""
    set_flags(PRECISIONS["fp32"])
    owner = torch.backends.cuda.matmul if backend == "cuda.matmul" else torch.backends.cudnn.conv
    owner.fp32_precision = "tf32"
    failed = {probe.name for probe in probe_precision(PRECISIONS["fp32"], torch.device(DEVICE)) if not probe.ok}
    set_flags(PRECISIONS["fp32"])
    assert failed == {{"cuda.matmul": "matmul_probe", "cudnn.conv": "convolution_probe"}[backend]}


def test_the_flags_change_what_the_device_computes():
    torch.manual_seed(0)
    operands = torch.randn(2, 1024, 1024, device=DEVICE)
    exact = (operands[0].double() @ operands[1].double()).float()

    def relative_error(precision):
        set_flags(PRECISIONS[precision])
        return float(((operands[0] @ operands[1]) - exact).norm() / exact.norm())

    assert relative_error("fp32") < 2e-6
    if torch.cuda.get_device_capability() >= (8, 0):
        assert 1e-5 < relative_error("tf32") < 2e-3


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16"])
def test_no_measured_step_waits_for_the_device(precision):
    config = spec(precision).training
    torch.manual_seed(0)
    device = torch.device(DEVICE)
    run = training.prepare(build_model(SMALL).to(device), PRECISIONS[precision], config, device)
    batches = data_of(SMALL, config).to(device).training
    curves = training.Curves.empty(config.steps, device)
    clock = make_clock(device, config.steps + 1)
    for index in range(4):
        curves.record(index, training.training_step(run, batches[index]))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index in range(4, config.steps):
            clock.mark()
            curves.record(index, training.training_step(run, batches[index]))
        clock.mark()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    clock.synchronise()
    assert all(seconds > 0 for seconds in clock.step_seconds())


def test_the_scaler_overflows_and_recovers():
    config = spec("fp16", steps=40).training
    device = torch.device(DEVICE)
    run = training.prepare(build_model(SMALL).to(device), PRECISIONS["fp16"], config, device)
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
    batches = data_of(SMALL, config).to(device).training
    steps = [training.training_step(run, batches[index]) for index in range(40)]
    skipped = [int(step.found_inf) for step in steps]
    assert skipped[0] == 1
    assert skipped[-1] == 0
    assert int(run.learning_rate.applied_steps) == 40 - sum(skipped)


def test_a_process_that_holds_memory_is_refused():
    held = torch.empty(NEAR_ZERO_BYTES * 4, dtype=torch.uint8, device=DEVICE)
    with pytest.raises(TrialFailed, match="does not start from an empty device"):
        reset_memory(torch.device(DEVICE))
    del held
    assert reset_memory(torch.device(DEVICE)) <= NEAR_ZERO_BYTES


async def test_what_does_not_fit_is_out_of_memory_and_the_next_trial_is_well():
    free = torch.cuda.mem_get_info(0)[1]
    width = 16_384
    layers = free // (width * width * 4 * 3) + 2
    outcome, _ = await in_a_fresh_process(spec("fp32", MlpSpec(hidden_size=width, num_layers=min(layers, 512))))
    assert outcome.code == "out_of_memory"
    result, _ = await in_a_fresh_process(spec("fp32"))
    assert result.applied_steps == 12


async def test_a_comparison_of_a_transformer_that_fills_the_card():
    """FP32 against TF32, FP16 and BF16, in fresh processes; the precisions are attested."""
    memory = detect(DEVICE).memory_bytes
    batch_size = max(8, int(memory * 0.5 / (190 * 2**20)) // 8 * 8)
    asked = request(
        device="cuda",
        candidates=["tf32", "fp16", "bf16"],
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

    measured = await compare(Comparison.of(asked, detect(DEVICE)), run_trial, lambda progress: None)
    report = make_report("gpu", measured)
    assert report.attestation.ok, [check for check in report.attestation.checks if not check.ok]
    assert all(found.speedup is not None for found in report.comparisons)
    assert report.environment.device != CPU.name
    print(to_markdown(report))


def test_the_forkserver_s_preload_touches_no_cuda():
    code = "import worker.trial_process, torch; raise SystemExit(torch.cuda.is_initialized())"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_a_trial_in_this_process_measures_first_step_and_steady_peak_apart():
    reset_memory(torch.device(DEVICE))
    memory = run_trial(spec("fp32"), lambda step: None).memory
    assert memory.first_step_peak_bytes > 0
    assert memory.peak_bytes > 0
