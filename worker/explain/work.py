"""Watches one training step for the least work of each kind: FLOPs by dtype, and bytes by size of operation."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from typing_extensions import override

from halftime.contract.report.explanation import WorkKind
from halftime.plugin import Batch
from worker.explain.kinds import kind_of
from worker.explain.regions import Region, regions_of
from worker.proof.flops import Arguments, Count, work_of
from worker.training.loop import Run, training_step

#: Operators that read only the rows that they return, not the whole of their first argument.
_PICKING = frozenset({"aten::embedding", "aten::index", "aten::index_select", "aten::gather", "aten::take"})
#: Operators that overwrite their first argument without reading it.
_OVERWRITING = frozenset({"aten::copy_", "aten::fill_", "aten::zero_", "aten::normal_", "aten::uniform_"})


@dataclass
class Work:
    """The least work of one kind in a step."""

    flops_by_dtype: defaultdict[str, Count] = field(default_factory=lambda: defaultdict(float))
    #: Bytes read and written by operations of at most so many.
    bytes_by_size: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))


class WorkWatch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Records the work of every operation while it is open. It never waits for the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._region: Region | None = None
        self._work: defaultdict[WorkKind, Work] = defaultdict(Work)

    def enter(self, region: Region) -> None:
        """Notes that a region of the step begins."""
        self._region = region

    @override
    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Executes the operator, then records its work."""
        result = func(*args, **kwargs or {})
        name = func._schema.name
        kind = self._region or kind_of(name) or "unassigned"
        if kind != "host" and not func.is_view:
            work, size_bytes = self._work[kind], least_bytes(func, args, kwargs or {}, result)
            work.bytes_by_size[size_class(size_bytes)] += size_bytes
            if (multiplied := work_of(name, args, result)) is not None:
                work.flops_by_dtype[str(multiplied.dtype).removeprefix("torch.")] += multiplied.least_flops
        return result

    def by_kind(self) -> dict[WorkKind, Work]:
        """Returns the work by kind; waits for the device where a number of FLOPs depends on data."""
        for work in self._work.values():
            for dtype, flops in work.flops_by_dtype.items():
                work.flops_by_dtype[dtype] = float(flops)
        return dict(self._work)


def watch_work(run: Run, batch: Batch) -> dict[WorkKind, Work]:
    """Runs one training step of the module itself and returns the least work of each kind. It is not timed."""
    watch = WorkWatch()
    with regions_of(run, watch.enter), watch:
        training_step(run.uncompiled(), batch)
    return watch.by_kind()


def least_bytes(func: OpOverload, args: Arguments, kwargs: dict[str, Any], result: object) -> float:
    """Bytes that an operator reads and writes at least: each operand once, each result and changed operand once more.

    Repeated elements of an expanded tensor count once.
    """
    schema = func._schema
    picks = schema.name in _PICKING
    skips_first = picks or schema.name in _OVERWRITING
    given = [(schema.arguments[index], value) for index, value in enumerate(args)]
    given += [(one, kwargs[one.name]) for one in schema.arguments if one.name in kwargs]
    read = written = 0.0
    for index, (argument, value) in enumerate(given):
        size = sum(map(tensor_bytes, _tensors(value)))
        is_written = argument.alias_info is not None and argument.alias_info.is_write
        read += 0 if skips_first and index == 0 else size
        written += size if is_written else 0
    if not schema.is_mutable:
        made = sum(map(tensor_bytes, _tensors(result)))
        written, read = written + made, read + (made if picks else 0)
    return read + written


def tensor_bytes(tensor: Tensor) -> float:
    """Bytes of a tensor's distinct elements; 0 for one without strides, such as a sparse one."""
    if tensor.layout is not torch.strided:
        return 0
    sides = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size for size, stride in sides if stride != 0 or size == 0) * tensor.itemsize


def size_class(size_bytes: float) -> int:
    """The smallest power of two that is not less than a number of bytes; 0 for none."""
    return 1 << math.ceil(math.log2(size_bytes)) if size_bytes > 0 else 0


def _tensors(value: object) -> Iterator[Tensor]:
    return (one for one in tree_leaves(value) if isinstance(one, Tensor))
