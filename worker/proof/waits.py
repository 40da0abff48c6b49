"""Detects operations of a step that make the host wait for the device, by torch's dispatcher and CUDA's warnings."""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

#: Operations that transfer a value to the host, or whose result has a size that depends on data.
WAITING = frozenset(
    {
        "aten::_local_scalar_dense",
        "aten::nonzero",
        "aten::masked_select",
        "aten::_unique",
        "aten::_unique2",
        "aten::unique_dim",
        "aten::unique_consecutive",
        "aten::unique_dim_consecutive",
        "aten::equal",
        "aten::bincount",
    }
)

#: Indexing operations, which wait if the index is a mask.
INDEXING = frozenset({"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"})

#: Copy operations, which wait between device and host unless they are non-blocking with page-locked memory.
COPYING = frozenset({"aten::_to_copy", "aten::copy_"})

#: torch's warning of a synchronising operation in sync debug mode (c10/cuda/CUDAFunctions.cpp).
SYNCHRONISES = "called a synchronizing CUDA operation"

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


class SynchronisationWatch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Counts the operations that make the host wait for the device while it is open.

    On CUDA, torch also warns of operations that it knows to synchronise, which are not all: both are counted.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()
        self._device = device
        self._warned: list[warnings.WarningMessage] = []
        self._explained = 0
        self._open = contextlib.ExitStack()

    @override
    def __enter__(self) -> "SynchronisationWatch":
        if self._device.type == "cuda":
            self._warned = self._open.enter_context(warnings.catch_warnings(record=True))
            warnings.simplefilter("always")
            self._open.callback(torch.cuda.set_sync_debug_mode, torch.cuda.get_sync_debug_mode())
            torch.cuda.set_sync_debug_mode("warn")  # also warns that the mode is a prototype, which is ignored
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @override
    def __exit__(self, *error: Any) -> None:  # what a context manager is given
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._open.close()

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Arguments = (), kwargs: Keywords | None = None
    ) -> object:
        """Counts an operation that waits, then executes it. Operations on host tensors never wait."""
        name, before = func._schema.name, self._warnings()
        waits = self._waits(name, args, kwargs or {})
        self.seen[name] += waits
        result = func(*args, **kwargs or {})
        warned = self._warnings() - before
        self.seen[name] += warned > 0 and not waits
        self._explained += warned
        return result

    def found(self) -> list[str]:
        """Returns every operation that waited, with its count; those seen only by CUDA have no name."""
        counts = +self.seen
        unnamed = self._warnings() - self._explained
        if unnamed > 0:
            counts["synchronisation reported by CUDA"] = unnamed
        return [f"{name} × {times}" for name, times in sorted(counts.items())]

    def _warnings(self) -> int:
        return sum(SYNCHRONISES in str(warned.message) for warned in self._warned)

    def _waits(self, name: str, args: Arguments, kwargs: Keywords) -> bool:
        if name in COPYING:
            return self._copies_and_waits(name, args, kwargs)
        if not args or not self._is_here(args[0]):
            return False
        if name in INDEXING:
            return _has_mask(args[1]) and not _fills(args)
        if name == "aten::repeat_interleave":
            return kwargs.get("output_size") is None
        return name in WAITING

    def _copies_and_waits(self, name: str, args: Arguments, kwargs: Keywords) -> bool:
        """Whether a copy waits: unless it is non-blocking and the host memory is page-locked, as a new tensor is."""
        if name == "aten::copy_":
            target, source, non_blocking = args[0], args[1], kwargs.get("non_blocking", len(args) > 2 and args[2])
            places = [target.device, source.device]
        else:
            source, non_blocking = args[0], kwargs.get("non_blocking", False)
            target, places = None, [torch.device(kwargs.get("device") or source.device), source.device]
        if {place.type for place in places} != {"cpu", self._device.type} or self._device.type == "cpu":
            return False
        on_host = source if source.device.type == "cpu" else target
        return not non_blocking or (on_host is not None and not on_host.is_pinned())

    def _is_here(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.device.type == self._device.type


def _has_mask(indices: Iterable[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in {torch.bool, torch.uint8} for index in indices)


def _fills(args: Arguments) -> bool:
    """Whether a single host value is assigned by a mask: that becomes a masked fill, which does not wait."""
    value = args[2] if len(args) > 2 else None
    return isinstance(value, Tensor) and value.numel() == 1 and value.device.type == "cpu"
