"""A completed block of a running benchmark, with everything a later attempt needs to resume after it."""

from typing import Literal

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.slices import Pairing, TurnsPlan
from halftime.contract.report.trial import TrialResult
from halftime.contract.strict import Output


class Fingerprint(Output):
    """The environment and request that a block was measured with; all blocks of a comparison have the same one."""

    #: UUID of the GPU; on a CPU, the host's running kernel and the device's name.
    device: str
    driver: str | None
    #: CPU cores that the worker may use.
    cores: int
    python: str
    os: str
    halftime: str
    #: Hash of the installed packages and their versions, which provide kernels, models and plugins.
    packages_sha256: str
    #: Hash of the request with every default filled in.
    request_sha256: str


class LegOutcome(Output):
    """The result of one leg in a block."""

    precision: PrecisionName
    #: null if the trial gave no result or the leg had failed before.
    trial: TrialResult | None
    #: Why the leg is not run again.
    failure: Failure | None
    #: Why the leg ended before the others; null if it did not.
    ended_early_reason: str | None = None


class Block(Output):
    """One trial of each leg from the same seed."""

    #: Position in the benchmark, from 0; the survey counts.
    index: int
    #: How its legs were measured side by side; survey: each alone, before the blocks in which they take turns.
    pairing: Pairing | Literal["survey"] = "trials"
    pairing_reason: str = ""
    #: null if the legs did not take turns.
    turns: TurnsPlan | None = None
    #: One per leg, in the order of the comparison's legs.
    outcomes: list[LegOutcome]
    #: Duration from the end of the previous block to the end of this one.
    seconds: float
    #: Trials discarded as disturbed and repeated.
    repeats: int


class KeptBlock(Output):
    """A block completed by an earlier attempt, with that attempt and its worker."""

    attempt: int
    worker: str
    block: Block
