"""Outcomes of simulated benchmarks, drawn from each benchmark's seed, so that a test knows what to expect."""

import random
from enum import Enum

from halftime.contract.report.failure import FailureCode


class Fate(Enum):
    """Outcome of a benchmark, and its share in percent."""

    FINE = 84
    #: The candidate runs out of memory, and the report says so.
    CANDIDATE_OUT_OF_MEMORY = 4
    #: Every leg runs out of memory: there is no report.
    ALL_OUT_OF_MEMORY = 3
    #: The baseline's loss becomes NaN.
    NONFINITE_LOSS = 2.5
    #: A trial raises an error.
    INVALID_MODEL = 2
    #: A trial is killed by a signal, and its retry succeeds.
    KILLED_ONCE = 2.5
    #: A trial is killed, and its retry too.
    KILLED_TWICE = 1.5
    #: A trial is killed by the kernel's OOM killer, twice.
    OOM_KILLED = 0.5

    @property
    def failure(self) -> FailureCode | None:
        """Failure code of the benchmark; None if it succeeds."""
        return FAILURES.get(self)


FAILURES = {
    Fate.ALL_OUT_OF_MEMORY: FailureCode.OUT_OF_MEMORY,
    Fate.NONFINITE_LOSS: FailureCode.NONFINITE_LOSS,
    Fate.INVALID_MODEL: FailureCode.INVALID_MODEL,
    Fate.KILLED_TWICE: FailureCode.INTERNAL,
    Fate.OOM_KILLED: FailureCode.OUT_OF_MEMORY,
}


def fate_of(training_seed: int) -> Fate:
    """Outcome of the benchmark with this seed in its training config."""
    fates = list(Fate)
    draw = random.Random(f"fate {training_seed}")  # noqa: S311 # nothing secret is drawn
    return draw.choices(fates, [fate.value for fate in fates])[0]
