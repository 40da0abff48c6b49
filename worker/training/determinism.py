"""Deterministic kernels, where a request asks for them."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import torch

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed

#: What cuBLAS needs for it: eight buffers of 4096 KiB (cuBLAS documentation, "Results Reproducibility").
WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

#: How torch says that it cannot.
REFUSAL = re.compile(r"^(?P<operation>\S+).* does not have a deterministic implementation")


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Inside, torch runs deterministic kernels only, if that is wanted.

    To be entered before CUDA is used. Raises TrialFailed (`invalid_model`) for an operation that has none.
    """
    if not wanted:
        yield
        return
    filling: Any = torch.utils.deterministic  # its one attribute is missing from torch's stubs
    fills, benchmarks = filling.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    os.environ.update(WORKSPACE)
    torch.backends.cudnn.benchmark = False
    filling.fill_uninitialized_memory = False  # it costs time, and shows only what nobody may read
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        refused = REFUSAL.match(str(error))
        if refused is None:
            raise
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            f"deterministic: torch has no deterministic version of {refused['operation']}, which the model uses on "
            "this device. Set it to false.",
        ) from error
    finally:
        torch.use_deterministic_algorithms(False)
        filling.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = benchmarks
        for name in WORKSPACE:
            del os.environ[name]


def is_deterministic() -> bool:
    """Read back from torch."""
    return torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
