"""Measures a device's support of each precision: a processor's feature flags do not show what kernels do.

A CPU without half-precision arithmetic can still train in BF16 and FP16, but 40 times slower than in FP32.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from halftime.contract.resources.worker import PrecisionSupport
from worker.device import device as devices
from worker.errors import TrialFailed
from worker.errors.out_of_memory import is_out_of_memory
from worker.proof.ceiling import combined_rate, training_rate
from worker.proof.products import product_seconds, square_products
from worker.proof.timing import one_thread
from worker.training.precision import PRECISIONS, Precision, check, set_flags

#: Speed relative to FP32 below which a precision counts as emulated: with hardware support it was at least as fast as
#: FP32 on every device measured, and without at most a tenth as fast.
EMULATED_BELOW = 0.5

#: Rows and columns of the matrices that one thread multiplies, and the most repetitions.
CPU_SIZE, CPU_REPEATS = 256, 1000

#: torch's errors if a device has no kernel for a dtype.
NO_KERNEL = ("not implemented for", "could not create a primitive", "no kernel image is available")


@dataclass(frozen=True)
class MeasuredRate:
    """FLOP/s of a linear layer's three products in one precision."""

    #: Rate of the whole device.
    rate: float
    #: Rate of one thread on a CPU, where the best of many repetitions is hardly affected by other programs.
    kernel_rate: float


def measure_support(name: str) -> list[PrecisionSupport]:
    """Measures every precision. Run in a separate process: it sets torch's switches and may hold a CUDA context."""
    device = torch.device(name)
    exact = measure_rate(PRECISIONS["fp32"], device) if why_unsupported(PRECISIONS["fp32"], device) is None else None
    return [_support(precision, device, exact) for precision in PRECISIONS.values()]


def why_unsupported(precision: Precision, device: torch.device) -> str | None:
    """Returns why the device cannot train in a precision; None if it can."""
    try:
        check(device, precision)
        devices.make_current(device)
        multiply_once(precision.matmul_dtype, device)
    except TrialFailed as error:
        return error.failure.detail
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        if not any(words in str(error) for words in NO_KERNEL):  # a device fault, not missing support
            raise
        reason = str(error).split("\n", maxsplit=1)[0][:300]
        return f"torch {torch.__version__} has no {precision.name} kernels for {device}: {reason}"
    return None


def multiply_once(dtype: torch.dtype, device: torch.device) -> None:
    """Runs a product and a convolution, which have different kernels."""
    operand = torch.ones(16, 16, device=device, dtype=dtype)
    torch.mm(operand, operand)
    functional.conv2d(operand.view(1, 1, 16, 16), torch.ones(1, 1, 3, 3, device=device, dtype=dtype))


def measure_rate(precision: Precision, device: torch.device) -> MeasuredRate | None:
    """Measures the rates; None if memory ran out."""
    set_flags(precision)
    rate = training_rate(precision, device)
    if rate is None:
        return None
    if device.type != "cpu":
        return MeasuredRate(rate, rate)
    with one_thread():
        seconds = [
            product_seconds(one, precision.matmul_dtype, device, CPU_REPEATS) for one in square_products(CPU_SIZE)
        ]
    kernel_rate = combined_rate([2 * CPU_SIZE**3 / one for one in seconds])
    return MeasuredRate(max(rate, kernel_rate), kernel_rate)


def _support(precision: Precision, device: torch.device, exact: MeasuredRate | None) -> PrecisionSupport:
    problem = why_unsupported(precision, device)
    if problem is not None:
        return PrecisionSupport(precision=precision.name, kernels="absent", flops_per_second=None, remedy=problem)
    measured = exact if precision.name == "fp32" else measure_rate(precision, device)
    remedy = _remedy(precision, measured, exact) if measured and exact else None
    return PrecisionSupport(
        precision=precision.name,
        kernels="emulated" if remedy else "native",
        flops_per_second=measured.rate if measured else None,
        remedy=remedy,
    )


def _remedy(precision: Precision, measured: MeasuredRate, exact: MeasuredRate) -> str | None:
    """Returns the remedy if the device emulates the precision; None if it does not."""
    if measured.kernel_rate >= EMULATED_BELOW * exact.kernel_rate:
        return None
    name = precision.name
    return (
        f"The device has no hardware support of {name}: matrix products run at {measured.rate / 1e9:.3g} GFLOP/s in "
        f"{name}, and at {exact.rate / 1e9:.3g} in fp32. Use fp32 here; {name} needs {precision.hardware}."
    )
