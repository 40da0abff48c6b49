"""The benchmark resource: the state of a submitted request."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.failure import Failure
from halftime.contract.report.kinds import KindShare
from halftime.contract.report.report import Difference, Verdict
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.strict import Output

#: queued → running → succeeded | failed | cancelled, with cancelling between running and cancelled.
Status = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]

TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


class QueuePlace(Output):
    """The position of a benchmark among those that wait for the same workers."""

    #: Position in the queue, from 1, counted over the benchmarks that a suitable worker takes up to this one. If its
    #: workers serve different queues, the smallest position counts; without a suitable worker, the position in its own
    #: queue. 0 once it has left the queue.
    position: int
    #: Live workers that can run it.
    workers_online: int
    #: What it waits for, if no live worker can run it; else null.
    note: str | None = None


class Progress(Output):
    """The progress of a running benchmark."""

    #: `capacity`: the search for the largest batch; `verify`: the measurement of what advice is worth.
    phase: Literal["start", "measure", "capacity", "verify", "report"]
    #: Whether it is the survey that is measured: each leg trained once alone, before blocks in which they take turns.
    is_survey: bool = False
    #: Whether the legs of the block take turns of a few steps; `leg` and `step` are then those of the latest report.
    in_turns: bool = False
    block: int
    #: Blocks of the current plan; the stopping rule may change it after the pilot.
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
    """The main figures of one leg; the comparison's figures are null for the baseline."""

    precision: PrecisionName
    samples_per_second: float | None
    peak_memory_bytes: int | None
    verdict: Verdict | None
    speedup: Estimate | None
    memory_reduction_percent: Estimate | None
    achieved_flops_per_second: float | None = None
    #: Where most of the time of a step goes, the largest share first; empty if the leg was not profiled.
    largest_kinds: list[KindShare] = Field(default=[])


class Summary(Output):
    """The figures of the first candidate, and the main figures of every leg."""

    verdict: Verdict
    speedup: Estimate | None
    memory_reduction_percent: Estimate | None
    accuracy_difference: Difference | None
    loss_difference: Difference | None
    #: Of the task's further metrics, by name.
    metric_differences: dict[str, Difference] = Field(default={})
    #: The baseline, then every candidate.
    legs: list[LegSummary] = Field(default=[])
    #: Time outside measured steps per trial; used to estimate the cost of later benchmarks.
    overhead_seconds_per_trial: float | None = None


class Links(Output):
    """Addresses of related resources."""

    self: str
    cancel: str
    events: str
    report: str
    logs: str


class BenchmarkItem(Output):
    """A benchmark in a list, without its request and its report."""

    id: str
    status: Status
    model_kind: str
    #: The preset, architecture or plugin of the model if it has one, else its kind.
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
    """The complete state of a benchmark."""

    id: str
    status: Status
    version: int
    request: BenchmarkRequest
    #: null until the worker has counted the parameters, if only torch can count them.
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
