"""What a worker says of itself."""

from datetime import datetime
from typing import Literal

from halftime.contract.precisions import DeviceKind, PrecisionName
from halftime.contract.strict import Output

#: `draining`: it takes no more benchmarks, and has drained once it runs none. `quarantined`: its device is sick, and it
#: takes none until checks pass again.
WorkerState = Literal["idle", "busy", "draining", "quarantined", "offline"]


#: native: the device multiplies in it. emulated: it has no arithmetic for it, and what torch does instead takes more
#: than twice the time of FP32. absent: it cannot train in it.
KernelSupport = Literal["native", "emulated", "absent"]


class PrecisionSupport(Output):
    """What a device can do in one precision, measured when its worker started."""

    precision: PrecisionName
    kernels: KernelSupport
    #: Of the three matrix products of a linear layer's training step together, FLOP/s; null where it is not known.
    flops_per_second: float | None
    #: What is missing, and what to do about it; null for native kernels.
    remedy: str | None


class WorkerDevice(Output):
    """The one device a worker owns."""

    #: `cuda:0`, `cpu`
    name: str
    kind: DeviceKind
    #: Name of the GPU; null on a CPU.
    gpu: str | None
    #: Memory of the device, in bytes.
    memory_bytes: int | None
    #: Every precision, measured when the worker started; null where that was not possible, or by an older worker.
    precisions: list[PrecisionSupport] | None = None

    def support_of(self, precision: PrecisionName) -> PrecisionSupport | None:
        """What the device can do in a precision; None where it is not known."""
        return next((one for one in self.precisions or [] if one.precision == precision), None)


class Quarantine(Output):
    """Why a worker takes no benchmarks until checks of its device pass again."""

    #: What is wrong with the device, and what to do.
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
    #: Null for a healthy device; kept while the worker is offline.
    quarantine: Quarantine | None = None


class WorkerPage(Output):
    """The workers of the last days, live ones first."""

    items: list[Worker]
