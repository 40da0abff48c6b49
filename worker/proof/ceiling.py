"""How fast this device multiplies matrices in a precision: no training in it can be faster.

Measured on the spot, so that no table of devices can be wrong: square products of growing size, until one takes long
enough to be past every overhead.
"""

import functools
import time
from collections.abc import Callable

import torch

from worker import device as devices
from worker.precision import Precision

SIZES = (256, 512, 1024, 2048, 4096, 8192)

#: A product of at least this size, and one that takes as long as this, is past every overhead...
LEAST_SIZE, LONG_ENOUGH_SECONDS = 1024, 0.005
#: ...and one that takes as long as this needs no larger one beside it, whatever its size.
LONG_SECONDS = 0.05

#: Of every size; the fastest counts.
REPEATS = 3


def measure_ceiling(precision: Precision, device: torch.device) -> float | None:
    """FLOP/s of the fastest matrix product found, under the switches as they stand.

    The operands have the dtype that autocast would give them. None where there was no room for one that tells.
    """
    best, told = 0.0, False
    for size in SIZES:
        try:
            seconds = _multiply(size, precision.matmul_dtype, device)
        except RuntimeError as error:
            if devices.is_out_of_memory(error):
                break
            raise
        best = max(best, 2 * size**3 / seconds)
        told = size >= LEAST_SIZE or seconds >= LONG_SECONDS
        if told and seconds >= LONG_ENOUGH_SECONDS:
            break
    return best if told else None


def _multiply(size: int, dtype: torch.dtype, device: torch.device) -> float:
    operand = torch.randn(size, size, device=device).to(dtype)
    multiply = functools.partial(torch.mm, operand, operand, out=torch.empty_like(operand))
    return min(_seconds(multiply, device) for _ in range(REPEATS))


def _seconds(operation: Callable[[], object], device: torch.device) -> float:
    """Of one execution, waiting for the device at both ends."""
    _wait(device)
    began = time.perf_counter()
    operation()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
