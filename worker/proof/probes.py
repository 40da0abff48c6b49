"""Numeric probes: compares matrix products and convolutions under the trial's switches with FP64.

Switches do not prove what a kernel computes. The relative error identifies the arithmetic: about 2e-7 for IEEE FP32,
3e-4 for TF32 and FP16 (both have 10 explicit mantissa bits), 3e-3 for BF16 (7 bits). TF32 and FP16 are distinguished
by range: a product beyond 65504 overflows only in FP16.

A library may use TF32, but need not: on Hopper, cuBLAS uses FP32 kernels for small products (below about 16 rows, or
512 columns or terms). So if FP32 operands can use tensor cores, the probes have several sizes: under `fp32` none may
show TF32, under `tf32` none may be less exact, and if none used TF32 the report has a warning.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from halftime.contract.report.trial import Probe
from worker.errors.out_of_memory import is_out_of_memory
from worker.training.precision import Precision

Sizes = tuple[tuple[int, ...], ...]
#: Measures the relative error of a precision on a device, for operands of one size.
Measure = Callable[[Precision, torch.device, tuple[int, ...]], float]

#: Square operands: enough terms to average rounding errors, few enough to be fast on any CPU.
SMALL_PRODUCTS: Sizes = ((256, 256),)
#: Sizes if FP32 operands can use tensor cores.
PRODUCTS: Sizes = (*SMALL_PRODUCTS, (512, 512), (1024, 1024), (2048, 2048), (4096, 4096))

#: Images (samples, channels, height, width); as many 3 x 3 filters as channels.
SMALL_CONVOLUTIONS: Sizes = ((2, 32, 16, 16),)
CONVOLUTIONS: Sizes = (*SMALL_CONVOLUTIONS, (8, 64, 56, 56), (16, 256, 14, 14))

#: Rows of a product that are also computed in FP64, for which a GPU may have few units.
EXACT_ROWS = 256

#: An operand whose product with 1 overflows in FP16 (largest value 65504) only.
BEYOND_FP16 = 1e5


def probe_precision(precision: Precision, device: torch.device) -> list[Probe]:
    """Runs the probes under the current switches and the precision's autocast."""
    several = device.type == "cuda" and precision.matmul_dtype is torch.float32
    probes = [
        error_probe("matmul_probe", precision, device, _product, PRODUCTS if several else SMALL_PRODUCTS),
        error_probe(
            "convolution_probe", precision, device, _convolution, CONVOLUTIONS if several else SMALL_CONVOLUTIONS
        ),
    ]
    if precision.matmul_dtype is not torch.bfloat16:
        probes.append(range_probe(precision, device))
    return probes


def error_probe(name: str, precision: Precision, device: torch.device, measure: Measure, sizes: Sizes) -> Probe:
    """Compares products of several sizes with FP64: their relative error must be the precision's."""
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
    """Returns the errors by size, for sizes that fit into memory; the smallest must fit."""
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
        computed = torch.matmul(_held(left, precision), _held(right, precision))
    return _relative_error(computed[:EXACT_ROWS], torch.matmul(left[:EXACT_ROWS].double(), right.double()))


def _convolution(precision: Precision, device: torch.device, size: tuple[int, ...]) -> float:
    """Relative error of the first sample."""
    generator, channels = _generator(device), size[1]
    images = torch.randn(size, generator=generator, device=device)
    filters = torch.randn(channels, channels, 3, 3, generator=generator, device=device)
    with _autocast(precision, device):
        computed = functional.conv2d(_held(images, precision), _held(filters, precision))
    return _relative_error(computed[:1], functional.conv2d(images[:1].double(), filters.double()))


def _relative_error(computed: Tensor, exact: Tensor) -> float:
    return float((computed.double() - exact).norm() / exact.norm())


def range_probe(precision: Precision, device: torch.device) -> Probe:
    """Checks that FP16, and only FP16, overflows."""
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


def _held(operand: Tensor, precision: Precision) -> Tensor:
    """An operand as the precision holds weights and activations."""
    return operand.to(precision.weights_dtype)


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)
