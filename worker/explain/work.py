"""Watches one training step for the least work of each kind: FLOPs by dtype, and bytes by size of operation."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from halftime.contract.report.explanation import WorkKind
from halftime.plugin import Batch
from worker.explain.kinds import kind_of
from worker.explain.least_bytes import least_bytes, size_class
from worker.explain.regions import Region, regions_of
from worker.proof.flops import Arguments, Count, work_of
from worker.training.loop import Run, training_step


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
