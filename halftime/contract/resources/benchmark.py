"""The benchmark resource: where a request stands."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.report import Difference, Estimate, Verdict
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.strict import Output

#: queued → running → succeeded | failed | cancelled, with cancelling between running and cancelled.
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]

TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


class QueuePlace(Output):
    """Where a benchmark stands among those that wait for the same workers."""

    #: So many queued benchmarks, itself included, go first with a worker that takes it; where its workers serve
    #: different queues, with those that have the fewest before it. Without any, in its own queue. 0 once it has left.
    position: int
    #: Live workers that could take it.
    workers_online: int
    #: What it waits for, where no live worker could take it; else null.
    note: str | None = None


class Progress(Output):
    """How far a running benchmark is."""

    phase: Literal["start", "measure", "capacity", "report"]
    block: int
    #: Blocks the plan has now; the stopping rule may change it after the pilot.
    max_blocks: int
    leg: str
    step: int
    total_steps: int
    fraction: float = Field(ge=0, le=1)
    eta_seconds: float | None


class WorkerRef(Output):
    """The worker that runs or ran a benchmark."""

    id: str
    gpu: str | None


class LegSummary(Output):
    """One leg in short; the comparison's figures are null for the baseline."""

    precision: PrecisionName
    samples_per_second: float | None
    peak_memory_bytes: int | None
    verdict: Verdict | None
    speedup: Estimate | None
    memory_reduction_percent: Estimate | None
    achieved_flops_per_second: float | None = None


class Summary(Output):
    """The figures of the first candidate, and every leg in short."""

    verdict: Verdict
    speedup: Estimate | None
    memory_reduction_percent: Estimate | None
    accuracy_difference: Difference | None
    loss_difference: Difference | None
    #: The baseline, then every candidate.
    legs: list[LegSummary] = Field(default=[])
    #: Everything outside measured steps, per trial: what the cost of the next is reckoned with.
    overhead_seconds_per_trial: float | None = None


class Links(Output):
    """Where to go next."""

    self: str
    cancel: str
    events: str
    report: str
    logs: str


class BenchmarkItem(Output):
    """A benchmark as a list shows it: without its request and its report."""

    id: str
    status: Status
    model_kind: str
    #: The preset, architecture or plugin, where the model has one; else its kind.
    model_name: str
    device: str
    labels: dict[str, str]
    priority: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    worker: WorkerRef | None
    summary: Summary | None
    failure: Failure | None
    links: Links


class Benchmark(Output):
    """The whole resource."""

    id: str
    status: Status
    version: int
    request: BenchmarkRequest
    #: null until the worker has counted what only torch can count.
    parameter_count: int | None
    labels: dict[str, str]
    priority: int
    queue: QueuePlace
    progress: Progress | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    worker: WorkerRef | None
    summary: Summary | None
    failure: Failure | None
    warnings: list[str]
    links: Links


class BenchmarkPage(Output):
    """A page of benchmarks, newest first."""

    items: list[BenchmarkItem]
    #: Pass as `cursor` for the next page; null on the last.
    next_cursor: str | None
