"""Measures the memory of a training step: its peak, from the allocator, and the breakdown of the peak.

CUDA's allocator has a peak counter. The CPU's has none, and the resident set includes memory that malloc retains; but
torch's profiler records every allocation and release, including kernels' workspaces, so the peak of one additional
step can be summed up. `MemTracker` attributes tensors to categories.
"""

import warnings
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from halftime.contract.report.trial import Memory, MemoryBreakdown
from halftime.contract.request.training import CUDA_GRAPH_MODES
from halftime.plugin import Batch
from worker.data.batches import device_of, tensors_of
from worker.training.loop import Run, training_step

#: The contract's names of `MemTracker`'s categories.
CATEGORIES = {
    "Parameter": "parameters",
    "Gradient": "gradients",
    "Optstate": "optimizer",
    "Buffer": "buffers",
    "Activation": "activations",
    "Temp": "temporary",
    "Other": "other",
}


class CudaPeaks:
    """Reads CUDA's peak counters at boundaries of the loop; does nothing on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.first_step_bytes = self.first_step_reserved_bytes = self.steady_bytes = 0
        self.reserved_bytes: int | None = None

    def after_first_step(self) -> None:
        """Stores the peak of the step that creates the optimizer state."""
        if self._device.type == "cuda":
            self.first_step_bytes = torch.cuda.max_memory_allocated(self._device)
            self.first_step_reserved_bytes = torch.cuda.max_memory_reserved(self._device)

    def before_measured(self) -> None:
        """Resets the counter for the steady-state peak."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def after_training(self) -> None:
        """Stores the steady-state peak, before validation and the breakdown raise it."""
        if self._device.type == "cuda":
            self.steady_bytes = torch.cuda.max_memory_allocated(self._device)
            self.reserved_bytes = torch.cuda.max_memory_reserved(self._device)


def memory_on_cuda(run: Run, start_bytes: int | None, peaks: CudaPeaks, waiting_bytes: int) -> Memory:
    """Returns the allocator's peaks, less `waiting_bytes` of batches on the device that the step does not use.

    A CUDA graph allocates once, when it is recorded; its replays change no counter of allocated memory. If steps are
    replayed, the peak is that of reserved memory, which includes the graphs' pools.
    """
    peak_bytes, first_step_bytes, source = peaks.steady_bytes, peaks.first_step_bytes, "cuda_allocator"
    if _replays(run) and peaks.reserved_bytes is not None:
        peak_bytes, first_step_bytes, source = peaks.reserved_bytes, peaks.first_step_reserved_bytes, "cuda_reserved"
    peak_bytes -= waiting_bytes
    return Memory(
        source=source,
        peak_bytes=peak_bytes,
        first_step_peak_bytes=first_step_bytes - waiting_bytes,
        peak_reserved_bytes=peaks.reserved_bytes,
        start_bytes=start_bytes,
        breakdown=None,
    )


def memory_on_cpu(run: Run, fresh: Run, batch: Batch) -> Memory:
    """Measures the peaks of two additional steps: one of `run`, and the first of `fresh`, without optimizer state."""
    return Memory(
        source="cpu_allocator",
        peak_bytes=cpu_step_peak(run, batch),
        first_step_peak_bytes=cpu_step_peak(fresh, batch),
        peak_reserved_bytes=None,
        start_bytes=None,
        breakdown=None,
    )


def cpu_step_peak(run: Run, batch: Batch) -> int:
    """Runs one additional training step; returns the peak of the memory that the CPU's allocator held for it."""
    run.optimizer.zero_grad(set_to_none=True)  # as the step does; the profiler has no sizes of earlier allocations
    held_bytes = sum(_tensor_bytes([*_step_state(run), *tensors_of(batch)]))
    with profile(profile_memory=True) as step:
        training_step(run, batch)
    assert step.kineto_results is not None
    changes = [event for event in step.kineto_results.events() if event.name() == "[memory]"]
    peak_bytes = held_bytes
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held_bytes += change.nbytes()
        peak_bytes = max(peak_bytes, held_bytes)
    return peak_bytes


def account_for_step(run: Run, batch: Batch) -> MemoryBreakdown:
    """Runs one additional training step and returns the memory of the tensors at its peak, by category.

    The step uses the module itself: `MemTracker` does not support compiled ones.
    """
    from torch.distributed._tools.mem_tracker import MemTracker  # noqa: PLC0415 # loads torch's compiler

    tracker = MemTracker()

    def spare_frozen(module: nn.Module, inputs: object = ()) -> None:
        for weight in module.parameters():
            if not weight.requires_grad:  # a frozen weight takes no hook, and needs none: it has no gradient
                no_hook = RemovableHandle(OrderedDict())
                tracker._param_to_grad_hook_handles[weight] = (no_hook, no_hook)

    spare_frozen(run.model)
    tracker.track_external(run.model, run.optimizer, *tensors_of(batch))

    def forward(*inputs: Any, **named_inputs: Any) -> Any:  # noqa: ANN401 # a model's own
        tracker.reset_mod_stats()  # it rejects a second call of a module, which micro-batches make
        return run.model(*inputs, **named_inputs)

    # A forward pass may make modules with frozen weights, as the loss of some detectors does.
    with warnings.catch_warnings(), register_module_forward_pre_hook(spare_frozen), tracker:
        warnings.filterwarnings("ignore", "Module is None")  # one that a forward pass makes is gone before backward
        training_step(replace(run, forward=forward), batch)
    peaks = tracker.get_tracker_snapshot("peak")
    parts: dict[Any, int] = peaks[device_of(batch)]  # keyed by MemTracker's own enumeration, and "Total"
    bytes_by_name = {CATEGORIES[kind.value]: size for kind, size in parts.items() if kind != "Total"}
    return MemoryBreakdown.model_validate(bytes_by_name)


def break_down(account: MemoryBreakdown, peak_bytes: int) -> MemoryBreakdown:
    """Makes the breakdown add up to the allocator's peak: memory that belongs to no tensor is kernels' workspace.

    A compiled step may use less than the breakdown, which is of an uncompiled one: the excess is subtracted from what a
    compiler saves, temporary tensors first.
    """
    other = account.other + peak_bytes - account.total_bytes()
    too_much = max(0, -other)
    temporary = min(too_much, account.temporary)
    activations = min(too_much - temporary, account.activations)
    return account.model_copy(
        update={
            "temporary": account.temporary - temporary,
            "activations": account.activations - activations,
            "other": other + temporary + activations,
        }
    )


def _replays(run: Run) -> bool:
    """Whether steps are replayed as CUDA graphs."""
    compilation = run.settings.compile
    return compilation is not None and compilation.mode in CUDA_GRAPH_MODES


def _step_state(run: Run) -> list[Tensor]:
    """Tensors that stay allocated between steps."""
    states = [value for state in run.optimizer.state.values() for value in state.values()]
    return [*run.model.parameters(), *run.model.buffers(), *states]


def _tensor_bytes(values: list[Any]) -> list[int]:
    return [value.nbytes for value in values if isinstance(value, Tensor)]
