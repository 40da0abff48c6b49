"""Tests that need a CUDA device, in this process: they run after those in fresh processes, which must run alone."""

import gc

import pytest
import torch

from halftime.contract.models import TransformerSpec
from halftime.contract.report.trial import NEAR_ZERO_BYTES
from halftime.contract.request.training import TrainingConfig
from tests.factories import data_of, run_of
from worker.device.detection import gpu_count
from worker.device.device import reset_memory
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.proof.probes import probe_precision
from worker.training import loop as training
from worker.training.clock import make_clock
from worker.training.precision import PRECISIONS, set_flags
from worker.trial.run import run_trial

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpu_count(), reason="no CUDA device"), pytest.mark.anyio]

SMALL = TransformerSpec(vocab_size=256, hidden_size=256, num_layers=2, num_heads=4, sequence_length=128)
DEVICE = "cuda:0"


@pytest.fixture(autouse=True)
def workspaces_freed():
    """Free cuBLAS workspaces, which otherwise live as long as the process and count as memory in use."""
    yield
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()


def needs_ampere(precision="tf32"):
    """Skip the test if the device lacks the precision: TF32 and BF16 need compute capability 8.0."""
    if precision in {"tf32", "bf16", "bf16-true"} and torch.cuda.get_device_capability(DEVICE) < (8, 0):
        pytest.skip("needs compute capability 8.0")


def spec(precision, model=SMALL, **settings):
    config = TrainingConfig(**{"batch_size": 16, "steps": 12, "warmup_steps": 4} | settings)
    return TrialSpec(device=DEVICE, precision=precision, block=0, position=0, model=model, training=config)


@pytest.mark.parametrize("backend", ["cuda.matmul", "cudnn.conv"])
def test_tf32_left_on_in_the_fp32_leg_is_caught_by_the_probe_itself(monkeypatch, backend):
    """Plant the fault in cuBLAS and cuDNN, after the flags were read."""
    needs_ampere()
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


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "bf16-true"])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
def test_no_measured_step_waits_for_the_device(precision):
    needs_ampere(precision)
    config = spec(precision).training
    torch.manual_seed(0)
    device = torch.device(DEVICE)
    run = run_of(SMALL, precision, config, DEVICE)
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
    run = run_of(SMALL, "fp16", config, DEVICE)
    run.scaler.load_state_dict(run.scaler.state_dict() | {"scale": 2.0**40})
    batches = data_of(SMALL, config).to(device).training
    steps = [training.training_step(run, batches[index]) for index in range(40)]
    skipped = [int(step.found_inf) for step in steps]
    assert skipped[0] == 1
    assert skipped[-1] == 0
    assert int(run.learning_rate.applied_steps) == 40 - sum(skipped)


def test_a_process_that_holds_memory_is_refused():
    held = torch.empty(NEAR_ZERO_BYTES * 4, dtype=torch.uint8, device=DEVICE)
    with pytest.raises(TrialFailed, match="did not start with empty device memory"):
        reset_memory(torch.device(DEVICE))
    del held
    assert reset_memory(torch.device(DEVICE)) <= NEAR_ZERO_BYTES


def test_a_trial_in_this_process_measures_first_step_and_steady_peak_apart():
    reset_memory(torch.device(DEVICE))
    memory = run_trial(spec("fp32"), lambda step: None).memory
    assert memory.first_step_peak_bytes > 0
    assert memory.peak_bytes > 0
