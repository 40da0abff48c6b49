"""Messages between a worker and its trial process: JSON over a pipe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from halftime.contract.event_data import TrialPhase
from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.adapters import LoraConfig
from halftime.contract.request.data import DataConfig, SyntheticData
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import DeviceCeilings, PrecisionSupport


class Inspection(BaseModel):
    """Request to inspect a model and its data before anything is trained."""

    kind: Literal["inspection"] = "inspection"
    device: str
    model: ModelSpec
    data: DataConfig
    adapters: LoraConfig | None = None
    seed: int
    #: Metrics that the model's task must have.
    metrics: list[str] = []

    @property
    def name(self) -> str:
        """Name for log lines and failure details."""
        return "inspection of the model"


class ModelFacts(BaseModel):
    """Result of an inspection."""

    parameter_count: int
    #: Weights, gradients of the trained ones, and buffers: a lower bound of what training needs.
    min_memory_bytes: int


class TimeLimit(BaseModel):
    """Time limits of a trial, in seconds from its start."""

    #: Soft limit, the trial's share of the time budget: training ends early and examinations are skipped to keep it.
    share_seconds: float
    #: Hard limit: the process is ended.
    max_seconds: float


class TrialSpec(BaseModel):
    """Request to run one trial of one leg."""

    kind: Literal["trial"] = "trial"
    device: str
    precision: PrecisionName
    #: The leg's name, if it is not its precision.
    leg_name: str | None = None
    block: int
    position: int
    model: ModelSpec
    training: TrainingConfig
    data: DataConfig = SyntheticData()
    adapters: LoraConfig | None = None
    #: Set if the worker had to count them.
    parameter_count: int | None = None
    #: Whether to compare a step with FP64 and search for the first overflow: in a leg's first trial.
    examined: bool = False
    #: Whether to profile a few steps after the measured ones, and to keep their trace: in a leg's first trial.
    explained: bool = False
    #: Purpose of the trial: a block, the survey before blocks in turns, the search for the largest batch, or the gain
    #: of a piece of advice.
    phase: TrialPhase = "measure"
    #: If the legs of the block take turns, the monotonic time (seconds) at which the block began; null: a whole trial.
    turns_began: float | None = None
    #: Folder with what torch.compile made in earlier trials of the leg; null: an empty one of its own.
    compile_cache: str | None = None
    #: Distinct training batches at most; null: one per step, limited by memory.
    max_batches: int | None = None
    #: Time limits; null: none.
    limit: TimeLimit | None = None
    #: Most training steps, if the time budget shortened an earlier trial; null: all requested steps.
    max_steps: int | None = None
    #: Most device memory that the trial may allocate; on a CPU the worker compares the peak instead.
    memory_limit_bytes: int | None = None

    @property
    def seed(self) -> int:
        """Seed of the initial weights and the samples; the same for every leg of a block."""
        return self.training.seed + self.block

    @property
    def leg(self) -> str:
        """The leg's name."""
        return self.leg_name or self.precision

    @property
    def name(self) -> str:
        """Name for log lines and failure details."""
        return f"trial of {self.leg} in block {self.block}"


@dataclass(frozen=True)
class LegTurns:
    """The turns of one leg in a block."""

    warmup_steps: int
    #: Steps of its slice in each round; a slow leg has fewer rounds than the others.
    slices: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Number of training steps."""
        return self.warmup_steps + sum(self.slices)


@dataclass(frozen=True)
class BlockTurns:
    """The turns of all legs in a block, in the order of the specs."""

    legs: tuple[LegTurns, ...]
    #: Expected duration of the block, and of what follows after the last round.
    seconds: float
    ending_seconds: float

    @property
    def rounds(self) -> int:
        """Number of rounds in which any leg has a slice."""
        return max(len(leg.slices) for leg in self.legs)


class DeviceCheck(BaseModel):
    """Request to check the health of a device."""

    kind: Literal["device_check"] = "device_check"
    device: str

    @property
    def name(self) -> str:
        """Name for log lines and failure details."""
        return "check of the device"


class DeviceHealth(BaseModel):
    """Result of a device check."""

    #: Each fault with its remedy; empty for a healthy device.
    faults: list[str]


class SupportCheck(BaseModel):
    """Request to measure the device's support of each precision, and its ceilings."""

    kind: Literal["support_check"] = "support_check"
    device: str

    @property
    def name(self) -> str:
        """Name for log lines and failure details."""
        return "measurement of the device"


class DeviceSupport(BaseModel):
    """Result of a support check: every precision once, and what the device can do at most."""

    precisions: list[PrecisionSupport]
    ceilings: DeviceCeilings | None = None
    #: Why there are no ceilings.
    ceilings_missing: str | None = None


Task = Annotated[TrialSpec | Inspection | DeviceCheck | SupportCheck, Field(discriminator="kind")]
TASK: TypeAdapter[Task] = TypeAdapter(Task)


class Waiting(BaseModel):
    """A trial waits for its next turn; its steps so far are done, and its device is idle."""

    kind: Literal["waiting"] = "waiting"
    step: int


class Turn(BaseModel):
    """Reply to a trial that waits: the steps of its next turn; none to end its training."""

    steps: int
    is_measured: bool = True
    #: Of a turn that ends training: whether the trial validates what it has trained.
    validates: bool = True


class StepDone(BaseModel):
    """Progress of a trial, sent at intervals."""

    kind: Literal["step"] = "step"
    step: int


class TraceKept(BaseModel):
    """The packed trace of an explained trial, sent before its final message."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    kind: Literal["trace"] = "trace"
    trace: bytes


class TrialSucceeded(BaseModel):
    """Final message of a trial that succeeded."""

    kind: Literal["succeeded"] = "succeeded"
    result: TrialResult


class Inspected(BaseModel):
    """Final message of an inspection that succeeded."""

    kind: Literal["inspected"] = "inspected"
    facts: ModelFacts


class DeviceChecked(BaseModel):
    """Final message of a device check."""

    kind: Literal["checked"] = "checked"
    health: DeviceHealth


class SupportMeasured(BaseModel):
    """Message of a support check: first with the precisions alone, finally with the ceilings too."""

    kind: Literal["support"] = "support"
    support: DeviceSupport


class TaskFailed(BaseModel):
    """Final message of a task that failed."""

    kind: Literal["failed"] = "failed"
    failure: Failure


Message = Annotated[
    StepDone | Waiting | TraceKept | TrialSucceeded | Inspected | DeviceChecked | SupportMeasured | TaskFailed,
    Field(discriminator="kind"),
]
MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


#: Takes the packed trace of a trial.
KeepTrace = Callable[[bytes], None]

#: How a trial whose leg took turns ended; None if it was given up because of another's.
OutcomeInTurns = TrialResult | Failure | None

#: Called with a trial of a block and the number of its steps done so far.
AfterStepInTurns = Callable[[TrialSpec, int], None]


class Launcher(Protocol):
    """Runs tasks in processes of their own. Cancelling a call ends its process before the call returns."""

    async def warm_up(self) -> None:
        """Prepares for the first task."""

    async def close(self) -> None:
        """Releases what the launcher holds."""

    async def inspect(self, inspection: Inspection, deadline_seconds: float) -> tuple[ModelFacts | Failure, str]:
        """Returns the facts of a model or why it cannot be trained, and the process's standard error."""

    async def check(self, check: DeviceCheck, deadline_seconds: float) -> DeviceHealth | Failure:
        """Returns the health of a device, or why the check did not complete."""

    async def measure_support(self, device: str, deadline_seconds: float) -> DeviceSupport | Failure:
        """Returns the device's support of each precision and its ceilings, or why it could not be measured."""

    async def run(
        self,
        spec: TrialSpec,
        deadline_seconds: float,
        after_step: Callable[[int], None],
        keep_trace: KeepTrace | None = None,
    ) -> tuple[TrialResult | Failure, str]:
        """Returns the result of a trial or why it failed, and the process's standard error."""

    async def run_in_turns(
        self,
        specs: Sequence[TrialSpec],
        turns: BlockTurns,
        deadline_seconds: float,
        after_step: AfterStepInTurns,
    ) -> list[tuple[OutcomeInTurns, str]]:
        """Returns the outcome of every trial of a block, whose legs train in turns, and its standard error."""
