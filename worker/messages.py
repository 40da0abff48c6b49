"""What a worker and its trial process say to each other: JSON over a pipe."""

from collections.abc import Callable
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, Field, TypeAdapter

from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.data import DataConfig, SyntheticData
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import PrecisionSupport


class Inspection(BaseModel):
    """A look at a model and its data before anything is trained."""

    kind: Literal["inspection"] = "inspection"
    device: str
    model: ModelSpec
    data: DataConfig
    seed: int

    @property
    def name(self) -> str:
        """For people."""
        return "look at the model"


class ModelFacts(BaseModel):
    """What an inspection finds."""

    parameter_count: int
    #: Weights, gradients and buffers: no training needs less.
    least_memory_bytes: int


class TimeLimit(BaseModel):
    """What a trial may take, in seconds from its start."""

    #: Its share of the time budget: training ends early, and examinations are left out, to keep within it.
    share_seconds: float
    #: It is ended then, with whatever it has.
    most_seconds: float


class TrialSpec(BaseModel):
    """One leg, once."""

    kind: Literal["trial"] = "trial"
    device: str
    precision: PrecisionName
    #: Where the leg is not called after its precision.
    leg_name: str | None = None
    block: int
    position: int
    model: ModelSpec
    training: TrainingConfig
    data: DataConfig = SyntheticData()
    #: Where the worker had to count.
    parameter_count: int | None = None
    #: Compare a step with FP64, and search where gradients first overflowed: in a leg's first trial.
    examined: bool = False
    #: What the trial is for: a block, or the search for the largest batch.
    phase: Literal["measure", "capacity"] = "measure"
    #: Of training data, before it repeats; null: as many as steps, within bounds.
    most_batches: int | None = None
    #: Of the time budget; null: as long as it takes.
    limit: TimeLimit | None = None
    #: Training steps, where the budget left another trial no more; null: all that the request asks for.
    most_steps: int | None = None
    #: Of the device's memory; on a CPU the worker judges by the peak.
    memory_limit_bytes: int | None = None

    @property
    def seed(self) -> int:
        """Of the initial weights and the samples; the same for every leg of a block."""
        return self.training.seed + self.block

    @property
    def leg(self) -> str:
        """The leg's name."""
        return self.leg_name or self.precision

    @property
    def name(self) -> str:
        """For people."""
        return f"trial of {self.leg} in block {self.block}"


class DeviceCheck(BaseModel):
    """A look at the device itself: is it fit for work?"""

    kind: Literal["device_check"] = "device_check"
    device: str

    @property
    def name(self) -> str:
        """For people."""
        return "check of the device"


class DeviceHealth(BaseModel):
    """What a check finds."""

    #: What is wrong and what to do about it; empty for a healthy device.
    faults: list[str]


class SupportCheck(BaseModel):
    """A measurement of what the device can do in each precision."""

    kind: Literal["support_check"] = "support_check"
    device: str

    @property
    def name(self) -> str:
        """For people."""
        return "measurement of the device's precisions"


class DeviceSupport(BaseModel):
    """What it finds: every precision once."""

    precisions: list[PrecisionSupport]


Task = Annotated[TrialSpec | Inspection | DeviceCheck | SupportCheck, Field(discriminator="kind")]
TASK: TypeAdapter[Task] = TypeAdapter(Task)


class StepDone(BaseModel):
    """Said now and then while the trial trains."""

    kind: Literal["step"] = "step"
    step: int


class TrialSucceeded(BaseModel):
    """The last word of a trial that went well."""

    kind: Literal["succeeded"] = "succeeded"
    result: TrialResult


class Inspected(BaseModel):
    """The last word of an inspection that found nothing wrong."""

    kind: Literal["inspected"] = "inspected"
    facts: ModelFacts


class DeviceChecked(BaseModel):
    """The last word of a check of the device."""

    kind: Literal["checked"] = "checked"
    health: DeviceHealth


class SupportMeasured(BaseModel):
    """The last word of a measurement of the device's precisions."""

    kind: Literal["support"] = "support"
    support: DeviceSupport


class TrialGaveUp(BaseModel):
    """The last word of one that could not go on."""

    kind: Literal["failed"] = "failed"
    failure: Failure


Message = Annotated[
    StepDone | TrialSucceeded | Inspected | DeviceChecked | SupportMeasured | TrialGaveUp, Field(discriminator="kind")
]
MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class Launcher(Protocol):
    """Starts trials, and ends those whose call is cancelled before the call returns."""

    async def warm_up(self) -> None:
        """Before the first of them."""

    async def close(self) -> None:
        """After the last."""

    async def inspect(self, inspection: Inspection, deadline_seconds: float) -> tuple[ModelFacts | Failure, str]:
        """What is known of a model, or why it cannot be trained, and what was written to standard error."""

    async def check(self, check: DeviceCheck, deadline_seconds: float) -> DeviceHealth | Failure:
        """What is wrong with a device, or why the process that looked did not come to say."""

    async def measure_support(self, device: str, deadline_seconds: float) -> DeviceSupport | Failure:
        """What a device can do in each precision, or why that is not known."""

    async def run(
        self, spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> tuple[TrialResult | Failure, str]:
        """The result of a trial or why there is none, and what it wrote to standard error."""
