"""Workers, their devices, and their state."""

from datetime import datetime
from typing import Literal

from halftime.contract.precisions import DeviceKind, PrecisionName
from halftime.contract.strict import Output

#: `draining`: the worker takes no more benchmarks; it is drained once it runs none. `quarantined`: its device failed
#: health checks, and it takes no benchmarks until they pass again.
WorkerState = Literal["idle", "busy", "draining", "quarantined", "offline"]

#: native: the device has arithmetic for the precision. emulated: it has none, and torch's substitute takes more than
#: twice the time of FP32. absent: the device cannot train in the precision.
KernelSupport = Literal["native", "emulated", "absent"]


class PrecisionSupport(Output):
    """A device's support for one precision, measured when its worker started."""

    precision: PrecisionName
    kernels: KernelSupport
    #: Rate of the three matrix products of a linear layer's training step together, in FLOP/s; null if unknown.
    flops_per_second: float | None
    #: What is missing and how to provide it; null for native kernels.
    remedy: str | None


class Bandwidth(Output):
    """How fast a device reads and writes memory in operations of one size."""

    #: Bytes that an operation reads and writes; small ones stay in a cache.
    size_bytes: int
    bytes_per_second: float


class DeviceCeilings(Output):
    """What a device can do at most, measured when its worker started."""

    #: Rate of the fastest matrix product, in FLOP/s.
    flops_per_second: dict[PrecisionName, float]
    #: By size, smallest first.
    memory: list[Bandwidth]
    #: Least time between two operations on a single number.
    launch_seconds: float
    torch: str
    #: Version of the GPU's driver; null on a CPU.
    driver: str | None


class WorkerDevice(Output):
    """The device that a worker owns."""

    #: torch's name, such as `cuda:0` or `cpu`
    name: str
    kind: DeviceKind
    #: Name of the GPU; null on a CPU.
    gpu: str | None
    #: Memory of the device, in bytes.
    memory_bytes: int | None
    #: Support for every precision, measured when the worker started; null if not measured, or for an older worker.
    precisions: list[PrecisionSupport] | None = None
    #: null if not measured, or for an older worker.
    ceilings: DeviceCeilings | None = None

    def support_of(self, precision: PrecisionName) -> PrecisionSupport | None:
        """Returns the device's support for a precision; None if unknown."""
        return next((support for support in self.precisions or [] if support.precision == precision), None)


class Quarantine(Output):
    """The reason why a worker takes no benchmarks until the health checks of its device pass again."""

    #: What is wrong with the device, and the remedy.
    reason: str
    since: datetime


class Worker(Output):
    """A worker as `GET /workers` lists it."""

    id: str
    device: WorkerDevice
    state: WorkerState
    current_benchmark: str | None
    started_at: datetime
    last_heartbeat: datetime
    version: str
    #: null for a healthy device; kept while the worker is offline.
    quarantine: Quarantine | None = None


class WorkerPage(Output):
    """The workers that were online in the last seven days, live ones first."""

    items: list[Worker]
