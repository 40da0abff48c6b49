"""How fast this device multiplies matrices in a precision: no training in it can be faster.

Measured on the spot, so that no table of devices can be wrong: square products of growing size, until one takes long
enough to be past every overhead.
"""

import functools
import time
from collections.abc import Callable

import torch

from worker.precision import Precision

SIZES = (256, 512, 1024, 2048, 4096, 8192)

#: A product that takes as long as this is large enough.
LONG_ENOUGH_SECONDS = 0.005

#: Of every size; the fastest counts.
REPEATS = 3

#: Of the device's free memory, for three matrices.
SHARE_OF_MEMORY = 0.25


def measure_ceiling(precision: Precision, device: torch.device) -> float:
    """FLOP/s of the fastest matrix product found, under the switches as they stand. The operands have the dtype that
    autocast would give them."""
    best = 0.0
    for size in SIZES:
        if device.type == "cuda" and 12 * size * size > SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
            break
        operand = torch.randn(size, size, device=device).to(precision.matmul_dtype)
        product = torch.empty_like(operand)
        multiply = functools.partial(torch.mm, operand, operand, out=product)
        seconds = min(_seconds(multiply, device) for _ in range(REPEATS))
        best = max(best, 2 * size**3 / seconds)
        if seconds >= LONG_ENOUGH_SECONDS:
            break
    return best


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
