"""The ratio of two legs' step times within a block: from their pairs of slices, or from whole trials."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from halftime.contract.report.slices import Slice
from halftime.contract.report.trial import TrialResult

#: Share of a block's pairs that may be left out as disturbed: those that remain are exact, only fewer. With more, the
#: machine was hardly ever free, and all count.
MAX_LEFT_OUT_SHARE = 0.75
#: Fewest pairs that may remain where more than half are left out: a Hodges-Lehmann estimate of four bears one that a
#: disturbance spoiled unseen, one of three bears none.
MIN_REMAINING_PAIRS = 4


@dataclass(frozen=True)
class SlicePair:
    """Slices of two legs from the same round: neighbours, whichever came first."""

    baseline: Slice
    other: Slice
    #: Logarithm of their step times, baseline / other.
    log_ratio: float

    @property
    def is_disturbed(self) -> bool:
        """Whether either slice is."""
        return bool(self.baseline.disturbances or self.other.disturbances)


def slice_pairs(baseline: TrialResult, other: TrialResult) -> list[SlicePair]:
    """Pairs the slices of two trials of a block by round; the one that ended earlier has no partner for later rounds.

    Empty if the legs did not take turns, or retention dropped the step times.
    """
    if not (baseline.step_seconds and other.step_seconds):
        return []
    return [
        SlicePair(one, two, math.log(_step_seconds(baseline, one) / _step_seconds(other, two)))
        for one, two in zip(baseline.slices, other.slices, strict=False)
    ]


def counted_pairs(pairs: Sequence[SlicePair]) -> list[SlicePair]:
    """The pairs that a block's figure comes from: those undisturbed, or all where they are too few."""
    undisturbed = [pair for pair in pairs if not pair.is_disturbed]
    return undisturbed if len(undisturbed) >= fewest_undisturbed(len(pairs)) else list(pairs)


def fewest_undisturbed(pairs: int) -> float:
    """How many of a block's pairs must be undisturbed for the others to be left out."""
    return max((1 - MAX_LEFT_OUT_SHARE) * pairs, min(MIN_REMAINING_PAIRS, pairs / 2))


def block_log_ratio(baseline: TrialResult, other: TrialResult) -> float | None:
    """Logarithm of the step times of two trials of a block, baseline / other; None if retention dropped them.

    Of pairs of slices, their Hodges-Lehmann estimate, otherwise the ratio of the medians of all steps.
    """
    pairs = slice_pairs(baseline, other)
    if pairs:
        return hodges_lehmann([pair.log_ratio for pair in counted_pairs(pairs)])
    seconds, other_seconds = baseline.median_step_seconds, other.median_step_seconds
    return math.log(seconds / other_seconds) if seconds and other_seconds else None


def hodges_lehmann(values: Sequence[float]) -> float:
    """Median of the means of all pairs of values, each value with itself among them.

    Nearly as exact as the mean for normal noise, while up to 29 % of the values may be arbitrarily wrong (Hodges &
    Lehmann 1963, Annals of Mathematical Statistics 34, 598-611). A linear drift cancels: values whose order alternates
    are shifted up and down in turn. Raises ValueError without values.
    """
    return statistics.median(
        (values[first] + values[second]) / 2 for first in range(len(values)) for second in range(first, len(values))
    )


def _step_seconds(trial: TrialResult, one: Slice) -> float:
    return statistics.median(trial.slice_step_seconds(one)[one.pick_up_steps :])
