"""Numeric probes: matrix products and convolutions under the trial's switches, against FP64.

What a switch says and what a kernel does are two things. The relative error tells the arithmetic: about 2e-7 for
IEEE FP32, 3e-4 for TF32 and FP16 (10 explicit bits of mantissa both), 3e-3 for BF16 (7 bits). TF32 and FP16 are told
apart by range: a product beyond 65504 overflows FP16 alone.

A library that may use TF32 need not: on Hopper, cuBLAS takes FP32 kernels for small products (below about 16 rows, or
512 columns or terms). So where FP32 operands may meet tensor cores the probes have several sizes: under `fp32` none may
show TF32, under `tf32` none may be less exact, and that none was computed in TF32 is a warning of the report.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from halftime.contract.report.trial import Probe
from worker.errors import is_out_of_memory
from worker.training.precision import Precision

Sizes = tuple[tuple[int, ...], ...]
#: The relative error of a precision on a device, for operands of one size.
Measure = Callable[[Precision, torch.device, tuple[int, ...]], float]

#: Square operands: enough terms that rounding averages, few enough to cost nothing on any CPU.
SMALL_PRODUCTS: Sizes = ((256, 256),)
#: Where FP32 operands may meet tensor cores.
PRODUCTS: Sizes = (*SMALL_PRODUCTS, (512, 512), (1024, 1024), (2048, 2048), (4096, 4096))

#: Images (samples, channels, height, width) for as many filters of 3 x 3 as they have channels.
SMALL_CONVOLUTIONS: Sizes = ((2, 32, 16, 16),)
CONVOLUTIONS: Sizes = (*SMALL_CONVOLUTIONS, (8, 64, 56, 56), (16, 256, 14, 14))

#: Of a product, the rows that are computed in FP64 as well: a GPU may have few units for it.
EXACT_ROWS = 256

#: An operand whose product with one overflows FP16 (largest 65504) and no other.
BEYOND_FP16 = 1e5


def probe_precision(precision: Precision, device: torch.device) -> list[Probe]:
    """The probes under the switches as they stand and the precision's autocast."""
    several = device.type == "cuda" and precision.autocast_dtype is None
    found = [
        _error_probe("matmul_probe", precision, device, _product, PRODUCTS if several else SMALL_PRODUCTS),
        _error_probe(
            "convolution_probe", precision, device, _convolution, CONVOLUTIONS if several else SMALL_CONVOLUTIONS
        ),
    ]
    if precision.matmul_dtype is not torch.bfloat16:
        found.append(_range_probe(precision, device))
    return found


def _error_probe(name: str, precision: Precision, device: torch.device, measure: Measure, sizes: Sizes) -> Probe:
    errors = _errors(precision, device, measure, sizes)
    low, high = precision.error_range
    smallest, largest = min(errors.values()), max(errors.values())
    observed = f"{smallest:.1e} to {largest:.1e} in {len(errors)} sizes" if len(errors) > 1 else f"{largest:.1e}"
    return Probe(
        name=name,
        expected=f"relative error {low:g} to {high:g}",
        observed=observed,
        ok=all(low <= error <= high for error in errors.values()),
        errors=errors,
    )


def _errors(precision: Precision, device: torch.device, measure: Measure, sizes: Sizes) -> dict[str, float]:
    """By size, of those that fit into memory; the smallest must."""
    errors: dict[str, float] = {}
    for size in sizes:
        try:
            errors[" × ".join(map(str, size))] = measure(precision, device, size)
        except RuntimeError as error:
            if not errors or not is_out_of_memory(error):
                raise
            break
    return errors


def _product(precision: Precision, device: torch.device, size: tuple[int, ...]) -> float:
    left, right = torch.randn(2, *size, generator=_generator(device), device=device)
    with _autocast(precision, device):
        computed = torch.matmul(left, right)
    return _relative_error(computed[:EXACT_ROWS], torch.matmul(left[:EXACT_ROWS].double(), right.double()))


def _convolution(precision: Precision, device: torch.device, size: tuple[int, ...]) -> float:
    """Of the first sample."""
    generator, channels = _generator(device), size[1]
    images = torch.randn(size, generator=generator, device=device)
    filters = torch.randn(channels, channels, 3, 3, generator=generator, device=device)
    with _autocast(precision, device):
        computed = functional.conv2d(images, filters)
    return _relative_error(computed[:1], functional.conv2d(images[:1].double(), filters.double()))


def _relative_error(computed: Tensor, exact: Tensor) -> float:
    return float((computed.double() - exact).norm() / exact.norm())


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


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)
