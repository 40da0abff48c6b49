"""What a device can do in each precision, as its worker measures it when it starts."""

import os
import subprocess
import sys

import pytest
import torch

from halftime.contract.resources.worker import WorkerDevice
from worker.proof import precision_support
from worker.proof.ceiling import measure_ceiling
from worker.proof.precision_support import MeasuredRate, measure_support
from worker.proof.products import Product, product_seconds
from worker.report.attestation import PLAUSIBLE_SHARE

CPU = torch.device("cpu")

#: Makes any x86 CPU one that has no half-precision arithmetic.
AVX2_ONLY = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

SAY = """
from worker.proof.precision_support import measure_support
print({one.precision: one.kernels for one in measure_support("cpu")})
"""


TRAIN = """
from halftime.contract.models import MlpSpec
from halftime.contract.request.training import TrainingConfig
from worker.messages import TrialSpec
from worker.report.attestation import achieved_flops_per_second
from worker.trial.run import run_trial
training = TrainingConfig(batch_size=256, steps=6, warmup_steps=2)
model = MlpSpec(input_size=1024, hidden_size=1024, num_layers=1, num_classes=4)
spec = TrialSpec(device="cpu", precision="bf16", block=0, position=0, model=model, training=training)
trial = run_trial(spec, lambda step: None)
print(achieved_flops_per_second(trial) / trial.ceiling_flops_per_second)
"""


def said_by_an_avx2_cpu(script):
    """What a script prints where the CPU has no half-precision arithmetic."""
    asked = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | AVX2_ONLY,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return asked.stdout


def support_of(name, monkeypatch, **kernel_rates):
    """What is found where the kernels multiply at these rates."""
    monkeypatch.setattr(
        precision_support,
        "measure_rate",
        lambda precision, device: MeasuredRate(1e9, kernel_rates.get(precision.name, 1e9)),
    )
    device = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=None, precisions=measure_support("cpu"))
    return device.support_of(name)


def test_every_precision_of_a_cpu_is_measured_and_tf32_is_absent():
    found = {one.precision: one for one in measure_support("cpu")}
    assert set(found) == {"fp32", "tf32", "fp16", "bf16", "bf16-true"}
    assert found["fp32"].kernels == "native"
    assert found["fp32"].flops_per_second > 0
    assert (found["tf32"].kernels, found["tf32"].flops_per_second) == ("absent", None)
    assert "CPUs do not support tf32" in found["tf32"].remedy


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="no x86 CPU with AVX2")
def test_a_cpu_without_half_precision_arithmetic_emulates_it():
    said = said_by_an_avx2_cpu(SAY)
    assert "'fp16': 'emulated', 'bf16': 'emulated'" in said
    assert "'fp32': 'native'" in said


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="no x86 CPU with AVX2")
def test_no_training_beats_the_ceiling_where_layouts_differ_twentyfold():
    """There `a.T @ a`, which training uses, is up to twenty times as fast as `a @ a`, which a first layer has not."""
    assert float(said_by_an_avx2_cpu(TRAIN)) < PLAUSIBLE_SHARE


def test_a_precision_at_less_than_half_the_rate_of_fp32_is_emulated(monkeypatch):
    found = support_of("bf16", monkeypatch, bf16=0.4e9)
    assert found.kernels == "emulated"
    assert "Use fp32" in found.remedy


def test_a_precision_nearly_as_fast_as_fp32_is_native(monkeypatch):
    found = support_of("bf16", monkeypatch, bf16=0.6e9)
    assert (found.kernels, found.remedy) == ("native", None)


def test_a_precision_whose_kernels_are_missing_is_absent(monkeypatch):
    def refuse(dtype, device):
        if dtype is torch.bfloat16:
            raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'BFloat16'")

    monkeypatch.setattr(precision_support, "multiply_once", refuse)
    found = support_of("bf16", monkeypatch)
    assert found.kernels == "absent"
    assert "no bf16 kernels for cpu" in found.remedy


def test_the_model_s_own_products_raise_the_ceiling(monkeypatch):
    from worker.proof import ceiling
    from worker.training.precision import PRECISIONS

    fast = Product(16, 16, 16)
    monkeypatch.setattr(
        ceiling, "product_seconds", lambda one, dtype, device: one.flops / (9e12 if one == fast else 1e12)
    )
    assert measure_ceiling(PRECISIONS["fp32"], CPU) == pytest.approx(1e12)
    assert measure_ceiling(PRECISIONS["fp32"], CPU, [fast]) == pytest.approx(9e12)


def test_batched_and_transposed_products_can_be_timed():
    for product in [Product(4, 8, 2, left_transposed=True, batch=3), Product(4, 8, 2, right_transposed=True)]:
        assert product_seconds(product, torch.float32, CPU) > 0
