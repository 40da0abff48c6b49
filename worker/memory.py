"""Memory of a training step, by what it is for.

CUDA's allocator counts its own peak. A CPU's allocator keeps no such counter, and the resident set is blurred by
what malloc holds back, so there the peak is the account itself: `MemTracker` follows every tensor of one untimed
step on either device.
"""

from typing import Any

import torch
from torch.distributed._tools.mem_tracker import MemTracker

from app.contract.trial import Memory, MemoryBreakdown
from worker.data import Batch
from worker.training import Run, training_step

#: How `MemTracker` names what the contract names.
CATEGORIES = {
    "Parameter": "parameters",
    "Gradient": "gradients",
    "Optstate": "optimizer",
    "Buffer": "buffers",
    "Activation": "activations",
    "Temp": "temporary",
    "Other": "other",
}


class PeakReader:
    """Reads CUDA's peak counters at the boundaries of the loop. On a CPU there are none, and it reads nothing."""

    def __init__(self, device: torch.device, start_bytes: int | None) -> None:
        self._device, self._start_bytes = device, start_bytes
        self._first_step_bytes: int | None = None
        self._steady_bytes: int | None = None
        self._reserved_bytes: int | None = None

    def after_first_step(self) -> None:
        """Keeps the peak of the step in which optimizer state comes to exist."""
        if self._device.type == "cuda":
            self._first_step_bytes = torch.cuda.max_memory_allocated(self._device)

    def before_measured(self) -> None:
        """Starts the steady peak."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def after_training(self) -> None:
        """Keeps the steady peak, before validation and the account raise it."""
        if self._device.type == "cuda":
            self._steady_bytes = torch.cuda.max_memory_allocated(self._device)
            self._reserved_bytes = torch.cuda.max_memory_reserved(self._device)

    def memory(self, waiting_bytes: int, account: MemoryBreakdown) -> Memory:
        """The memory of the trial. `waiting_bytes` of data stand by on the device and are not the step's."""
        if self._steady_bytes is None or self._first_step_bytes is None:
            source, peak_bytes, first_step_bytes = "tensor_account", account.total_bytes(), None
        else:
            source = "cuda_allocator"
            peak_bytes = self._steady_bytes - waiting_bytes
            first_step_bytes = self._first_step_bytes - waiting_bytes
        unnamed = peak_bytes - (account.total_bytes() - account.other)
        return Memory(
            source=source,
            peak_bytes=peak_bytes,
            first_step_peak_bytes=first_step_bytes,
            peak_reserved_bytes=self._reserved_bytes,
            start_bytes=self._start_bytes,
            breakdown=account.model_copy(update={"other": unnamed}),
        )


def account_for_step(run: Run, batch: Batch) -> MemoryBreakdown:
    """Runs one more training step and says what its peak consisted of. It changes the weights: call it last."""
    tracker = MemTracker()
    tracker.track_external(run.model, run.optimizer, *batch)
    with tracker:
        training_step(run, batch)
    peaks = tracker.get_tracker_snapshot("peak")
    parts: dict[Any, int] = peaks[batch[0].device]  # keyed by MemTracker's own enumeration, and "Total"
    bytes_by_name = {CATEGORIES[kind.value]: size for kind, size in parts.items() if kind != "Total"}
    return MemoryBreakdown.model_validate(bytes_by_name)
