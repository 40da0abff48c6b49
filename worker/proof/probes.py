"""Numeric probes: one matrix product and one convolution under the trial's switches, against FP64.

What a switch says and what a kernel does are two things. The relative error tells the arithmetic: about 2e-7 for
IEEE FP32, 3e-4 for TF32 and FP16 (10 explicit bits of mantissa both), 3e-3 for BF16 (7 bits). TF32 and FP16 are told
apart by range: a product beyond 65504 overflows FP16 alone.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from app.contract.trial import Probe
from worker.precision import Precision

#: Side of the square operands: enough terms that rounding averages, few enough to cost nothing.
SIZE = 256

#: Relative error against FP64 that each arithmetic leaves on Gaussian operands: smallest and largest accepted.
#: Geometric middles between the neighbours' errors, so that one precision is not taken for another.
ERROR_RANGES: dict[str, tuple[float, float]] = {
    "fp32": (0.0, 1e-5),
    "tf32": (1e-5, 1e-3),
    "fp16": (1e-5, 1e-3),
    "bf16": (1e-3, 1e-2),
}

#: An operand whose product with one overflows FP16 (largest 65504) and no other.
BEYOND_FP16 = 1e5


def probe_precision(precision: Precision, device: torch.device) -> list[Probe]:
    """The probes under the switches as they stand and the precision's autocast."""
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(2, SIZE, SIZE, generator=generator).to(device)
    images = torch.randn(2, 32, 16, 16, generator=generator).to(device)
    filters = torch.randn(32, 32, 3, 3, generator=generator).to(device)
    found = [
        _error_probe("matmul_probe", precision, torch.matmul, matrices[0], matrices[1]),
        _error_probe("convolution_probe", precision, functional.conv2d, images, filters),
    ]
    if precision.matmul_dtype is not torch.bfloat16:
        found.append(_range_probe(precision, device))
    return found


def _error_probe(
    name: str, precision: Precision, operation: Callable[[Tensor, Tensor], Tensor], left: Tensor, right: Tensor
) -> Probe:
    exact = operation(left.double(), right.double())
    with _autocast(precision, left.device):
        computed = operation(left, right)
    error = float((computed.double() - exact).norm() / exact.norm())
    low, high = ERROR_RANGES[precision.name]
    return Probe(
        name=name,
        expected=f"relative error {low:g} to {high:g}",
        observed=f"{error:.1e}",
        ok=low <= error <= high,
    )


def _range_probe(precision: Precision, device: torch.device) -> Probe:
    """FP16 and nothing else overflows."""
    operand = torch.full((8, 8), BEYOND_FP16, device=device)
    with _autocast(precision, device):
        product = operand @ torch.eye(8, device=device)
    overflows = not bool(product.isfinite().all())
    expected = precision.matmul_dtype is torch.float16
    words = {True: "overflows", False: "finite"}
    return Probe(name="range_probe", expected=words[expected], observed=words[overflows], ok=overflows is expected)


def _autocast(precision: Precision, device: torch.device) -> torch.autocast:
    enabled = precision.autocast_dtype is not None
    return torch.autocast(device.type, dtype=precision.autocast_dtype, enabled=enabled)
