"""Probes where a library may use TF32 and need not: simulated on the CPU, by kernels that round their operands."""

import pytest
import torch
from torch.nn import functional

from tests.factories import comparison, trial
from worker.comparison.blocks import compare
from worker.proof import probes
from worker.proof.probes import probe_precision
from worker.report.build import make_report
from worker.training.precision import PRECISIONS

CPU = torch.device("cpu")


def rounded(values, bits):
    """FP32 values with this many explicit bits of mantissa; others as they are."""
    if values.dtype is not torch.float32:
        return values
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2 ** (bits + 1)).round() / 2 ** (bits + 1), exponent)


@pytest.fixture
def kernels(monkeypatch):
    """Libraries that round the operands of products and convolutions from a width on, as cuBLAS uses TF32."""
    multiply, convolve = torch.matmul, functional.conv2d
    for small, several in (("SMALL_PRODUCTS", "PRODUCTS"), ("SMALL_CONVOLUTIONS", "CONVOLUTIONS")):
        sizes = ((16, 16), (64, 64)) if several == "PRODUCTS" else ((2, 16, 8, 8), (2, 64, 8, 8))
        monkeypatch.setattr(probes, small, sizes)  # as on CUDA

    def use(bits, from_width):
        def matmul(left, right):
            keep = bits if right.shape[0] >= from_width else 23
            return multiply(rounded(left, keep), rounded(right, keep))

        def conv2d(images, filters):
            keep = bits if filters.shape[0] >= from_width else 23
            return convolve(rounded(images, keep), rounded(filters, keep))

        monkeypatch.setattr(torch, "matmul", matmul)
        monkeypatch.setattr(functional, "conv2d", conv2d)

    return use


def error_probes(precision):
    return [probe for probe in probe_precision(PRECISIONS[precision], CPU) if probe.errors]


@pytest.mark.parametrize(
    ("bits", "from_width", "fp32", "tf32"),
    [
        pytest.param(23, 0, True, True, id="FP32 everywhere"),
        pytest.param(10, 64, False, True, id="TF32 for large ones"),
        pytest.param(10, 0, False, True, id="TF32 everywhere"),
        pytest.param(7, 64, False, False, id="BF16 for large ones"),
    ],
)
def test_fp32_is_exact_in_every_size_and_tf32_no_less_exact_than_it_may_be(kernels, bits, from_width, fp32, tf32):
    kernels(bits, from_width)
    assert [probe.ok for probe in error_probes("fp32")] == [fp32, fp32]
    assert [probe.ok for probe in error_probes("tf32")] == [tf32, tf32]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("from_width", "module", "warnings"), [(64, "Conv2d", 0), (1000, "Conv2d", 2), (1000, "Linear", 1)]
)
async def test_a_tf32_leg_that_never_saw_tf32_is_valid_and_a_warning_says_so(kernels, from_width, module, warnings):
    kernels(10, from_width)

    async def run_trial(spec, deadline_seconds, after_step):
        result = trial(spec, precision="tf32")
        leg = {"probes": error_probes("tf32"), "forward_dtypes": {module: ["float32"]}}
        return result.model_copy(update={"attestation": result.attestation.model_copy(update=leg)})

    measured = comparison()
    for leg in measured.legs:
        leg.precision = "tf32"
    report = make_report("id", await compare(measured, run_trial, lambda progress: None))
    probe_checks = [check for check in report.attestation.checks if check.name.endswith("_probe")]
    assert probe_checks
    assert all(check.ok for check in probe_checks)
    said = [warning for warning in report.warnings if "TF32, though TF32 is allowed" in warning]
    assert len(said) == 2 * warnings  # of both legs


def test_large_shapes_are_for_fp32_operands_on_cuda_alone(monkeypatch):
    seen = []

    def measure(precision, device, size):
        seen.append((precision.name, device.type, size))
        return 2e-4 if precision.name != "bf16" else 3e-3

    for name in ("_product", "_convolution"):
        monkeypatch.setattr(probes, name, measure)
    monkeypatch.setattr(probes, "range_probe", lambda precision, device: None)
    for precision in PRECISIONS.values():
        for device in ("cpu", "cuda"):
            probe_precision(precision, torch.device(device))
    large = {(name, device) for name, device, size in seen if max(size) > 256}
    assert large == {("fp32", "cuda"), ("tf32", "cuda")}
    assert max(size for _, _, size in seen) == (4096, 4096)


def test_a_size_that_does_not_fit_leaves_those_that_do():
    def measure(precision, device, size):
        if size[0] > 512:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return 2e-7

    products = probes.error_probe("matmul_probe", PRECISIONS["fp32"], torch.device("cuda"), measure, probes.PRODUCTS)
    assert list(products.errors) == ["256 × 256", "512 × 512"]
    assert products.ok
