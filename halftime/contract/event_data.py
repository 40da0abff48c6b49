"""What an event of each kind holds: the `data` of the events in `halftime.contract.events`."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.failure import AnyFailureCode, Failure
from halftime.contract.report.metrics import MetricValue
from halftime.contract.report.slices import Pairing
from halftime.contract.request.tracking import TrackerName
from halftime.contract.strict import Json, MaybeFloat

#: What a trial is for: a block of the comparison, the survey before blocks whose legs take turns, the search for the
#: largest batch, or the gain of a piece of advice.
TrialPhase = Literal["measure", "survey", "capacity", "verify"]

#: A trial's batch size, which only events of the search for capacity hold.
CapacityBatchSize = Annotated[int | None, Field(exclude_if=lambda size: size is None)]


class EventData(BaseModel):
    """The data of an event. Fields that a newer server adds are kept as they came."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    #: The `kind` of the event that holds this data.
    kind: ClassVar[str]

    def as_json(self) -> Json:
        """The fields that were given, as JSON: what is stored, and what is sent."""
        return self.model_dump(mode="json", exclude_unset=True)


class Queued(EventData):
    """The benchmark was submitted."""

    kind: ClassVar[str] = "queued"
    #: The queue of the workers that can take it.
    queue: str


class Started(EventData):
    """A worker took the benchmark: an attempt begins."""

    kind: ClassVar[str] = "started"
    #: From 1.
    attempt: int
    worker: str


class Inspected(EventData):
    """The worker built the model, or looked at the data, before any trial."""

    kind: ClassVar[str] = "inspected"
    parameter_count: int


class InspectionFailed(EventData):
    """The model could not be built, or the data could not be read."""

    kind: ClassVar[str] = "inspection_failed"
    code: AnyFailureCode


class TrialData(EventData):
    """Names a trial."""

    leg: str
    #: From 0.
    block: int
    phase: TrialPhase = "measure"
    #: Left out of trials that measure.
    batch_size: CapacityBatchSize = None


class TrialFinished(TrialData):
    """A trial gave a result."""

    kind: ClassVar[str] = "trial_finished"
    median_step_seconds: float
    #: null where it is not finite.
    validation_loss: MaybeFloat
    #: What the task measures, with values; empty in events of earlier releases, whose loss is in nats.
    metrics: list[MetricValue] = Field(default=[])
    #: Training steps, warm-up included.
    steps: int | None = None
    #: Training loss at up to 60 steps, evenly apart, the first and the last among them.
    loss_curve: list[MaybeFloat] = Field(default=[])

    def metric(self, name: str) -> float | None:
        """The value of a metric by its name; None if it is not finite."""
        values = {"loss": self.validation_loss} | {metric.name: metric.value for metric in self.metrics}
        return values.get(name)


class TrialFailed(TrialData):
    """A trial gave no result."""

    kind: ClassVar[str] = "trial_failed"
    code: AnyFailureCode
    detail: str = ""


class BlockFinished(EventData):
    """A block ended, and with it one trial of each leg."""

    kind: ClassVar[str] = "block_finished"
    #: From 0.
    block: int
    #: Blocks the plan has now; the stopping rule may change it after the pilot.
    planned_blocks: int
    #: How its legs were measured side by side. `trials` after a survey: the survey is the first block, and earlier
    #: blocks in turns do not count. null in events of earlier releases.
    pairing: Pairing | None = None
    #: By candidate, over all blocks so far; null before there are two, and for a leg that failed.
    speedups: dict[str, Estimate | None]


class BlocksReused(EventData):
    """An attempt goes on after blocks of the attempt before."""

    kind: ClassVar[str] = "blocks_reused"
    #: How many, from the first one on.
    blocks: int


class BlocksDiscarded(EventData):
    """An attempt cannot use blocks of the attempt before: how many, by reason."""

    kind: ClassVar[str] = "blocks_discarded"
    #: The other block of the pair is missing.
    unpaired: int
    #: Measured on another device, with other versions, or after a gap.
    measured_otherwise: int


class Cancelling(EventData):
    """A client asked to cancel the running benchmark."""

    kind: ClassVar[str] = "cancelling"


class HandedBack(EventData):
    """The worker was stopped; the benchmark is queued again, and the attempt is not counted."""

    kind: ClassVar[str] = "handed_back"
    worker: str


class DeviceSick(EventData):
    """The worker's device is sick; the benchmark is queued again, unless this was its last attempt."""

    kind: ClassVar[str] = "device_sick"
    worker: str
    attempt: int
    #: What is wrong with the device.
    fault: str


class WorkerLost(EventData):
    """The worker's lease ran out; the benchmark is queued again, unless this was its last attempt."""

    kind: ClassVar[str] = "worker_lost"
    worker: str
    attempt: int


class InternalFault(EventData):
    """Halftime failed with an error of its own; the benchmark's logs hold the traceback."""

    kind: ClassVar[str] = "fault"


class TrackingLogged(EventData):
    """A tracker has the report."""

    kind: ClassVar[str] = "tracking_logged"
    tracker: TrackerName
    run_id: str
    #: null where the run has no page.
    url: str | None


class TrackingFailed(EventData):
    """A tracker does not have the report, or not all of it."""

    kind: ClassVar[str] = "tracking_failed"
    tracker: TrackerName
    reason: str


class Succeeded(EventData):
    """The benchmark has its report."""

    kind: ClassVar[Literal["succeeded"]] = "succeeded"


class Failed(EventData):
    """The benchmark ended without a report: the fields of its `failure`."""

    kind: ClassVar[Literal["failed"]] = "failed"
    code: AnyFailureCode
    title: str
    detail: str
    retryable: bool

    @classmethod
    def of(cls, failure: Failure) -> "Failed":
        """The data for a failure."""
        return cls(code=failure.code, title=failure.title, detail=failure.detail, retryable=failure.retryable)


class Cancelled(EventData):
    """The benchmark was cancelled."""

    kind: ClassVar[Literal["cancelled"]] = "cancelled"
