"""Deterministic kernels, if a request asks for them."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import torch

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed

#: cuBLAS's setting for determinism: eight buffers of 4096 KiB (cuBLAS documentation, "Results Reproducibility").
WORKSPACE = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

#: torch's error if an operation has no deterministic implementation.
REFUSAL = re.compile(r"^(?P<operation>\S+).* does not have a deterministic implementation")


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Restricts torch to deterministic kernels for the duration of the block, if wanted.

    Enter before CUDA is used. Raises TrialFailed (`invalid_model`) when an operation has no such kernel.
    """
    if not wanted:
        yield
        return
    filling: Any = torch.utils.deterministic  # its attribute is missing from torch's stubs
    fills, benchmarks = filling.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    os.environ.update(WORKSPACE)
    torch.backends.cudnn.benchmark = False
    filling.fill_uninitialized_memory = False  # costs time, and affects only uninitialised memory
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
            "this device. Set deterministic to false.",
        ) from error
    finally:
        torch.use_deterministic_algorithms(False)
        filling.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = benchmarks
        for name in WORKSPACE:
            del os.environ[name]


def is_deterministic() -> bool:
    """Whether torch's settings for determinism are in effect."""
    return torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
