"""The fastest matrix product of each precision, its repeatability, and the memory of cuBLAS workspaces."""

import time

import torch

from testing.first_contact.lines import Ceiling, Workspace
from testing.first_contact.processes import Observer
from worker.proof.ceiling import measure_ceiling
from worker.training.precision import PRECISIONS, set_flags

#: Side of a product large enough for cuBLAS to allocate its workspace.
SIDE = 1024


def observe_ceilings(observer: Observer) -> None:
    """Measure each precision several times in a row."""
    for name in observer.in_time(observer.scale.precisions):
        precision = PRECISIONS[name]
        set_flags(precision)
        began = time.perf_counter()
        measured: list[float | None] = []
        while len(measured) < observer.scale.ceilings and observer.deadline.seconds_left():
            measured.append(measure_ceiling(precision, observer.device))
        seconds = (time.perf_counter() - began) / max(1, len(measured))
        observer.write(Ceiling(precision=name, flops_per_second=measured, seconds=seconds))


def observe_workspaces(observer: Observer) -> None:
    """Record memory allocated after a product of each precision, with no tensor alive, and after freeing workspaces."""
    torch.cuda.set_device(observer.device)
    _note(observer, "before any product")
    for name in observer.scale.precisions:
        precision = PRECISIONS[name]
        set_flags(precision)
        _multiply(precision.matmul_dtype, observer.device)
        _note(observer, f"after a product in {name}")
    torch._C._cuda_clearCublasWorkspaces()
    _note(observer, "after the workspaces were cleared")
    torch.cuda.empty_cache()
    _note(observer, "after the cache was emptied")


def _multiply(dtype: torch.dtype, device: torch.device) -> None:
    operand = torch.randn(SIDE, SIDE, device=device).to(dtype)
    torch.nn.functional.linear(operand, operand, operand[0])
    torch.cuda.synchronize(device)


def _note(observer: Observer, when: str) -> None:
    allocated, reserved = (ask(observer.device) for ask in (torch.cuda.memory_allocated, torch.cuda.memory_reserved))
    observer.write(Workspace(when=when, allocated_bytes=allocated, reserved_bytes=reserved))
