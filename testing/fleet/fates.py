"""What comes of a simulated benchmark: drawn from its seed, so that whoever posts it knows what to expect."""

import random
from enum import Enum

from halftime.contract.report.failure import FailureCode


class Fate(Enum):
    """What comes of a benchmark, with its share of a hundred."""

    FINE = 84
    #: The candidate runs out of memory: the report says so.
    CANDIDATE_OUT_OF_MEMORY = 4
    #: Every leg does: no report.
    ALL_OUT_OF_MEMORY = 3
    #: The baseline's loss stops being a number.
    NONFINITE_LOSS = 2.5
    #: The trial gives up.
    INVALID_MODEL = 2
    #: A trial is killed by a signal, and the next try is fine.
    KILLED_ONCE = 2.5
    #: A trial is killed, and the next try too.
    KILLED_TWICE = 1.5
    #: A trial is killed by the kernel's OOM killer, twice.
    OOM_KILLED = 0.5

    @property
    def failure(self) -> FailureCode | None:
        """What the benchmark fails with; None where it succeeds."""
        return FAILURES.get(self)


FAILURES = {
    Fate.ALL_OUT_OF_MEMORY: FailureCode.OUT_OF_MEMORY,
    Fate.NONFINITE_LOSS: FailureCode.NONFINITE_LOSS,
    Fate.INVALID_MODEL: FailureCode.INVALID_MODEL,
    Fate.KILLED_TWICE: FailureCode.INTERNAL,
    Fate.OOM_KILLED: FailureCode.OUT_OF_MEMORY,
}


def fate_of(training_seed: int) -> Fate:
    """Of the benchmark with this seed in its training config."""
    fates = list(Fate)
    draw = random.Random(f"fate {training_seed}")  # noqa: S311 # nothing secret is drawn
    return draw.choices(fates, [fate.value for fate in fates])[0]
