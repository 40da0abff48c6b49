"""Torch's switches as read after each precision was set, under their new and their old names."""

from collections.abc import Callable

import torch

from testing.first_contact.lines import Switches
from testing.first_contact.processes import Observer
from worker.training.precision import PRECISIONS, read_flags, set_flags


def _enter_flags() -> str:
    """Enter and leave `torch.backends.cudnn.flags`, as libraries do around a call."""
    with torch.backends.cudnn.flags():
        return "entered and left"


#: Readers that other libraries call; torch raises an error where old and new switches disagree.
LEGACY: dict[str, Callable[[], object]] = {
    "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision,
    "cuda.matmul.allow_tf32": lambda: torch.backends.cuda.matmul.allow_tf32,
    "cudnn.allow_tf32": lambda: torch.backends.cudnn.allow_tf32,
    "cudnn.flags()": _enter_flags,
    "cuda.matmul.allow_fp16_reduced_precision_reduction": lambda: (
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    ),
    "cuda.matmul.allow_bf16_reduced_precision_reduction": lambda: (
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    ),
    "cuda.matmul.allow_fp16_accumulation": lambda: torch.backends.cuda.matmul.allow_fp16_accumulation,
}


def observe_switches(observer: Observer) -> None:
    """Read the switches in every precision."""
    for name in observer.in_time(observer.scale.precisions):
        set_flags(PRECISIONS[name])
        flags = read_flags()  # before the old readers: entering and leaving flags changes what the new ones report
        legacy = {reader: _answer(ask) for reader, ask in LEGACY.items()}
        observer.write(Switches(precision=name, flags=flags, legacy=legacy))


def _answer(ask: Callable[[], object]) -> str:
    try:
        return str(ask())
    except (RuntimeError, AttributeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
