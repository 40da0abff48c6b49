"""What a device can do in each precision: measured, because what a processor says of itself is not what kernels do.

A CPU without half-precision arithmetic trains in BF16 and FP16 all the same, 40 times slower than in FP32.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from halftime.contract.resources.worker import PrecisionSupport
from worker.device import device as devices
from worker.errors import TrialFailed, is_out_of_memory
from worker.proof.ceiling import together, training_rate
from worker.proof.products import product_seconds, square_products
from worker.training.precision import PRECISIONS, Precision, check, set_flags

#: Half precision that is multiplied by hardware has been at least as fast as FP32 on every device seen, and on those
#: without at most a tenth as fast.
EMULATED_BELOW = 0.5

#: Rows and columns of the matrices that one thread multiplies, and how often at most.
CPU_SIZE, MANY = 256, 1000

#: How torch says that a device has no kernel for a dtype.
NO_KERNEL = ("not implemented for", "could not create a primitive", "no kernel image is available")


@dataclass(frozen=True)
class _Measured:
    """FLOP/s of a linear layer's three products in one precision."""

    #: Of the whole device.
    rate: float
    #: Of one thread, where the device is a CPU: what other programs do hardly moves the best of many.
    kernel_rate: float


def measure_support(name: str) -> list[PrecisionSupport]:
    """Every precision on a device. For a process of its own: it sets torch's switches, and may hold a CUDA context."""
    device = torch.device(name)
    exact = _measure(PRECISIONS["fp32"], device) if _problem(PRECISIONS["fp32"], device) is None else None
    return [_support(precision, device, exact) for precision in PRECISIONS.values()]


def _problem(precision: Precision, device: torch.device) -> str | None:
    """Why the device cannot train in a precision."""
    try:
        check(device, precision)
        devices.make_current(device)
        _multiply_once(precision.matmul_dtype, device)
    except TrialFailed as error:
        return error.failure.detail
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        if not any(words in str(error) for words in NO_KERNEL):  # a fault of the device, and no answer
            raise
        said = str(error).split("\n", maxsplit=1)[0][:300]
        return f"torch {torch.__version__} has no {precision.name} kernels for {device}: {said}"
    return None


def _multiply_once(dtype: torch.dtype, device: torch.device) -> None:
    """A product and a convolution: both have kernels of their own."""
    operand = torch.ones(16, 16, device=device, dtype=dtype)
    torch.mm(operand, operand)
    functional.conv2d(operand.view(1, 1, 16, 16), torch.ones(1, 1, 3, 3, device=device, dtype=dtype))


def _measure(precision: Precision, device: torch.device) -> _Measured | None:
    """None where there was no room."""
    set_flags(precision)
    rate = training_rate(precision, device)
    if rate is None:
        return None
    if device.type != "cpu":
        return _Measured(rate, rate)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = [product_seconds(one, precision.matmul_dtype, device, MANY) for one in square_products(CPU_SIZE)]
    finally:
        torch.set_num_threads(threads)
    kernel_rate = together([2 * CPU_SIZE**3 / one for one in seconds])
    return _Measured(max(rate, kernel_rate), kernel_rate)


def _support(precision: Precision, device: torch.device, exact: _Measured | None) -> PrecisionSupport:
    problem = _problem(precision, device)
    if problem is not None:
        return PrecisionSupport(precision=precision.name, kernels="absent", flops_per_second=None, remedy=problem)
    measured = exact if precision.name == "fp32" else _measure(precision, device)
    remedy = _remedy(precision, measured, exact) if measured and exact else None
    return PrecisionSupport(
        precision=precision.name,
        kernels="emulated" if remedy else "native",
        flops_per_second=measured.rate if measured else None,
        remedy=remedy,
    )


def _remedy(precision: Precision, measured: _Measured, exact: _Measured) -> str | None:
    """What to do where the device has no arithmetic for the precision; None where it has."""
    if measured.kernel_rate >= EMULATED_BELOW * exact.kernel_rate:
        return None
    name = precision.name
    return (
        f"The device has no {name} arithmetic: torch multiplies at {measured.rate / 1e9:.3g} GFLOP/s in {name}, and at "
        f"{exact.rate / 1e9:.3g} in fp32. Use fp32 here; {name} needs {precision.hardware}."
    )
