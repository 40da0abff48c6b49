"""What a worker says of itself."""

from datetime import datetime
from typing import Literal

from app.contract.precisions import DeviceKind
from app.contract.strict import Output

#: `draining`: it takes no more benchmarks, and has drained once it runs none. `quarantined`: its device is sick, and it
#: takes none until checks pass again.
WorkerState = Literal["idle", "busy", "draining", "quarantined", "offline"]


class WorkerDevice(Output):
    """The one device a worker owns."""

    #: `cuda:0`, `cpu`
    name: str
    kind: DeviceKind
    #: Name of the GPU; null on a CPU.
    gpu: str | None
    #: Memory of the device, in bytes.
    memory_bytes: int | None


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
    """Every worker ever seen, live ones first."""

    items: list[Worker]
