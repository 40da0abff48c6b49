"""Lines of the record: one JSON object a line, with its `kind`."""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.trial import TrialResult
from halftime.contract.strict import MaybeFloat, Output

#: done: completed. cut: its time was up. skipped: it could not begin. crashed: a fault; `detail` has the traceback.
StageOutcome = Literal["done", "cut", "skipped", "crashed"]


class _Line(Output):
    #: Seconds since the run began; set when the line is written.
    at_seconds: float = 0.0


class Begun(_Line):
    """The first line."""

    kind: Literal["begun"] = "begun"
    device: str
    budget_seconds: float
    #: UTC, ISO 8601.
    started_at: str
    halftime: str


class StageEnded(_Line):
    """The last line of a stage."""

    kind: Literal["stage"] = "stage"
    name: str
    outcome: StageOutcome
    seconds: float
    #: The traceback, or the reason why it was skipped or cut.
    detail: str = ""
    #: End of what its process wrote to standard output and standard error.
    logs: str = ""


class LeftOut(_Line):
    """Items that a stage had no time for."""

    kind: Literal["left_out"] = "left_out"
    stage: str
    names: list[str]


class Fact(_Line):
    """A fact about the machine or the device."""

    kind: Literal["fact"] = "fact"
    name: str
    value: str


class Switches(_Line):
    """Switches as read after a precision was set, under their new and their old names."""

    kind: Literal["switches"] = "switches"
    precision: PrecisionName
    flags: dict[str, str]
    #: Result or error of each reader that other libraries call.
    legacy: dict[str, str]


class ProbeError(_Line):
    """Error of one operation in a precision against FP64."""

    kind: Literal["probe"] = "probe"
    precision: PrecisionName
    operation: str
    #: Sizes and layout.
    of: str
    #: RMS of (result - exact) over RMS of exact.
    relative_error: MaybeFloat
    #: Why there is no error figure.
    error: str = ""


class Ceiling(_Line):
    """The fastest matrix product, measured several times."""

    kind: Literal["ceiling"] = "ceiling"
    precision: PrecisionName
    flops_per_second: list[MaybeFloat]
    #: Duration of one measurement.
    seconds: float


class Workspace(_Line):
    """Memory that stays allocated when no tensor is alive."""

    kind: Literal["workspace"] = "workspace"
    when: str
    allocated_bytes: int
    reserved_bytes: int


class Waits(_Line):
    """Host waits in one training step, as torch sees them and as Halftime's own check does."""

    kind: Literal["waits"] = "waits"
    model: str
    precision: PrecisionName
    optimizer: str
    #: Places and messages of `torch.cuda.set_sync_debug_mode`; null on a CPU.
    torch_saw: list[str] | None
    watch_saw: list[str]


class NvmlAnswers(_Line):
    """Answers of one NVML query, repeated while the device computes."""

    kind: Literal["nvml"] = "nvml"
    question: str
    #: Distinct answers, in order.
    answers: list[str]
    #: Duration of one answer.
    median_milliseconds: MaybeFloat
    largest_milliseconds: MaybeFloat
    error: str = ""


class EnergyUpdates(_Line):
    """How often NVML's energy counter moves under load."""

    kind: Literal["energy"] = "energy"
    updates_per_second: float
    watts: MaybeFloat


class TrialLine(_Line):
    """One trial with all its measurements, or its failure."""

    kind: Literal["trial"] = "trial"
    stage: str
    label: str
    precision: PrecisionName
    model: str
    seconds: float
    result: TrialResult | None
    failure: Failure | None
    #: End of what its process wrote.
    logs: str


class ReportLine(_Line):
    """Report of a whole comparison; `report.json` and `report.md` next to the record have all of it."""

    kind: Literal["report"] = "report"
    headline: str
    verdict: str
    reasons: list[str]
    warnings: list[str]
    #: Failed checks of the attestation, in words.
    failed_checks: list[str]
    checks: int
    speedups: dict[str, MaybeFloat]
    memory_reduction_percent: dict[str, MaybeFloat]
    overhead_seconds: float
    total_seconds: float


class NeighbourLine(_Line):
    """A foreign process that computes on the device while a trial runs."""

    kind: Literal["neighbour"] = "neighbour"
    pid: int
    #: Processes on the device before the trial, and after the neighbour ended, as NVML names them.
    seen_before: list[str]
    seen_after: list[str]


class Ended(_Line):
    """The last line of a complete run."""

    kind: Literal["ended"] = "ended"
    seconds: float


Line = (
    Begun
    | StageEnded
    | LeftOut
    | Fact
    | Switches
    | ProbeError
    | Ceiling
    | Workspace
    | Waits
    | NvmlAnswers
    | EnergyUpdates
    | TrialLine
    | ReportLine
    | NeighbourLine
    | Ended
)
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])
