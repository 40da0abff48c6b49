"""A completed block of a running benchmark: what a later attempt needs to go on from there."""

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.trial import TrialResult
from halftime.contract.strict import Output


class Fingerprint(Output):
    """What a block was measured with; the blocks of one comparison agree in all of it."""

    #: UUID of the GPU; on a CPU the running kernel of the host and the device's name.
    device: str
    driver: str | None
    #: That the worker may use.
    cores: int
    python: str
    os: str
    halftime: str
    #: Of the installed packages with their versions: kernels, models and plugins come from them.
    packages_sha256: str
    #: Of the request with every default filled in.
    request_sha256: str


class LegOutcome(Output):
    """What a block brought one leg."""

    precision: PrecisionName
    #: null where the trial gave no result, or the leg had failed before.
    trial: TrialResult | None
    #: Why the leg runs no more.
    failure: Failure | None


class Block(Output):
    """One trial of each leg from the same seed."""

    #: From 0.
    index: int
    #: In the order of the comparison's legs.
    outcomes: list[LegOutcome]
    #: From the end of the block before it to its own.
    seconds: float
    #: Trials thrown away as disturbed.
    repeats: int


class KeptBlock(Output):
    """A block that an earlier attempt completed, and which one did."""

    attempt: int
    worker: str
    block: Block
