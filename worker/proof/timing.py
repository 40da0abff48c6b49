"""Times operations: the fastest of several executions, each synchronised with the device before and after."""

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

#: Repetitions of an operation after its first execution.
REPEATS = 3

#: Total duration after which an operation is not repeated.
MAX_TOTAL_SECONDS = 0.05


def fastest_seconds(
    operation: Callable[[], object],
    device: torch.device,
    repeats: int = REPEATS,
    max_total_seconds: float = MAX_TOTAL_SECONDS,
) -> float:
    """Seconds of the fastest execution. Raises what the operation raises."""
    seconds = [_seconds(operation, device)]  # the first one selects and loads its kernel
    while len(seconds) <= repeats and sum(seconds) < max_total_seconds:
        seconds.append(_seconds(operation, device))
    return min(seconds)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limits torch to one thread of the CPU, whose best of many executions other programs hardly affect."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seconds(operation: Callable[[], object], device: torch.device) -> float:
    """Seconds of one execution, synchronised before and after."""
    _wait(device)
    began = time.perf_counter()
    operation()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
