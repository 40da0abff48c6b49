"""Measures what a device can do at most: arithmetic, memory, and the launch of operations.

In the roofline model (Williams, Waterman, Patterson 2009) work takes at least the longer of the times that its
arithmetic and its memory traffic need at the device's best rates. As in STREAM (McCalpin 1995), the best rate of memory
is that of a simple operation over an array, in the fastest of several repetitions, and bytes count that the program
reads or writes. Unlike there, small arrays are measured too: many operations of training find theirs in a cache.
"""

import functools
import math
import traceback
from collections.abc import Callable
from typing import TypeVar

import torch

from halftime.contract.precisions import PrecisionName
from halftime.contract.resources.worker import Bandwidth, DeviceCeilings
from worker.device import device as devices
from worker.device import nvml
from worker.errors.out_of_memory import is_out_of_memory
from worker.proof.ceiling import measure_ceiling
from worker.proof.precision_support import why_unsupported
from worker.proof.timing import fastest_seconds, one_thread
from worker.training.precision import PRECISIONS, set_flags

#: Bytes that an operation reads and writes, from those in a core's own cache to those beyond most caches.
SIZES_BYTES = (2**16, 2**20, 2**24, 2**28)

#: The same on a GPU, whose memory needs larger arrays for its full rate.
GPU_SIZES_BYTES = (*SIZES_BYTES, 2**30)

#: Largest part of the free memory that an array may take.
MOST_OF_FREE_MEMORY = 0.5

#: Repetitions of a measurement, and the total duration after which it is not repeated.
REPEATS, MAX_TOTAL_SECONDS = 500, 0.1

#: Executions from which the duration of one is estimated.
ESTIMATES = 20

#: Duration of one repetition, in which a short operation is executed many times. On a GPU it is so long that the
#: synchronisation is negligible; on a CPU, which needs none, so short that other programs interrupt only some.
REPETITION_SECONDS = {"cuda": 0.005, "cpu": 0.0001}

Figure = TypeVar("Figure")


def ceilings_or_reason(name: str) -> tuple[DeviceCeilings | None, str | None]:
    """Measures the ceilings; None, with the reason, if that fails: a device is of use without them."""
    try:
        return measure_ceilings(name), None
    except Exception as error:
        traceback.print_exc()
        return None, f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0][:300]


def measure_ceilings(name: str) -> DeviceCeilings:
    """Measures all ceilings. Run in a separate process: it sets torch's switches and may hold a CUDA context."""
    device = torch.device(name)
    devices.make_current(device)
    return DeviceCeilings(
        flops_per_second=_fastest_products(device),
        memory=_bandwidths(device),
        launch_seconds=_launch_seconds(device),
        torch=torch.__version__,
        driver=nvml.driver_version() if device.type == "cuda" else None,
    )


def _fastest_products(device: torch.device) -> dict[PrecisionName, float]:
    """FLOP/s of the fastest matrix product in every precision that the device supports and has the memory for."""
    rates: dict[PrecisionName, float] = {}
    same: dict[tuple[torch.dtype, str], float | None] = {}  # precisions that multiply alike
    for name, precision in PRECISIONS.items():
        if why_unsupported(precision, device) is None:
            multiplies = (precision.matmul_dtype, precision.fp32_precision)
            if multiplies not in same:
                set_flags(precision)
                same[multiplies] = measure_ceiling(precision, device)
            if (rate := same[multiplies]) is not None:
                rates[name] = rate
    return rates


def _bandwidths(device: torch.device) -> list[Bandwidth]:
    """Bandwidth by size, smallest first, up to the size that the memory has no room for."""
    smallest, *larger = GPU_SIZES_BYTES if device.type == "cuda" else SIZES_BYTES
    measured = [_bandwidth(smallest, device)]
    for size_bytes in larger:
        if _array_bytes(size_bytes) > MOST_OF_FREE_MEMORY * devices.free_bytes(device):
            break
        try:
            measured.append(_bandwidth(size_bytes, device))
        except RuntimeError as error:
            if is_out_of_memory(error):
                break
            raise
    return measured


def _bandwidth(size_bytes: int, device: torch.device) -> Bandwidth:
    """Rate of a negation in place. Raises torch's out-of-memory error.

    In place, because a CPU that writes elsewhere first reads what it overwrites, and those bytes would not be counted.
    """
    array = torch.ones(_array_bytes(size_bytes) // torch.float32.itemsize, device=device)
    seconds = _by_threads(functools.partial(_seconds_in_a_row, array.neg_, device), device)
    return Bandwidth(size_bytes=size_bytes, bytes_per_second=size_bytes / min(seconds))


def _array_bytes(size_bytes: int) -> int:
    """Size of the array of which an operation in place reads and writes so many bytes."""
    return size_bytes // 2


def _launch_seconds(device: torch.device) -> float:
    """Least time per operation on a single number, with its call from Python."""
    return _seconds_in_a_row(torch.ones(1, device=device).neg_, device)


def _by_threads(measure: Callable[[], Figure], device: torch.device) -> list[Figure]:
    """Measures with all threads and, on a CPU, with one: threads that wait for others suffer from other programs."""
    figures = [measure()]
    if device.type == "cpu" and torch.get_num_threads() > 1:
        with one_thread():
            figures.append(measure())
    return figures


def _seconds_in_a_row(operation: Callable[[], object], device: torch.device) -> float:
    """Least time per operation in many executions without a synchronisation between them."""
    once_seconds = fastest_seconds(operation, device, ESTIMATES)
    times = math.ceil(REPETITION_SECONDS[device.type] / once_seconds)
    repeated = functools.partial(_repeat, operation, times)
    return fastest_seconds(repeated, device, REPEATS, MAX_TOTAL_SECONDS) / times


def _repeat(operation: Callable[[], object], times: int) -> None:
    for _ in range(times):
        operation()
