"""Where the time of a leg's step goes, and what saving some of it is worth."""

import math
from dataclasses import dataclass

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import TimeByKind, WorkKind
from halftime.contract.report.report import Leg

#: Keeps a gain finite where everything that was measured could go.
MOST_GAIN = 100.0


@dataclass(frozen=True)
class Split:
    """The time of a step by kind of work."""

    kinds: dict[WorkKind, TimeByKind]

    @classmethod
    def of(cls, leg: Leg) -> "Split":
        """The split of a leg; empty if it was not measured."""
        return cls({one.kind: one for one in leg.time_by_kind})

    @property
    def step_seconds(self) -> float:
        """Time of a step: that of all kinds."""
        return self.seconds(*self.kinds)

    def seconds(self, *names: WorkKind) -> float:
        """Time of these kinds together."""
        return math.fsum(self.kinds[name].seconds_per_step for name in names if name in self.kinds)

    def calls(self, *names: WorkKind) -> float:
        """Operations of these kinds together."""
        return math.fsum(self.kinds[name].calls for name in names if name in self.kinds)

    def share(self, *names: WorkKind) -> float:
        """Share of a step that these kinds take; 0 without a split."""
        return self.share_of(self.seconds(*names))

    def share_of(self, seconds: float) -> float:
        """A time as a share of a step; 0 without a split."""
        return seconds / self.step_seconds if self.step_seconds else 0.0

    def share_of_ceiling(self, name: WorkKind) -> float | None:
        """Least time that the device needs for a kind / measured time, at most 1; None if unknown."""
        share = self.kinds[name].share_of_ceiling if name in self.kinds else None
        return None if share is None else min(1.0, share)

    def bound_by_launches(self) -> list[WorkKind]:
        """The kinds that are limited by how fast operations can be launched."""
        return [name for name, one in self.kinds.items() if one.bound_by == "launches"]

    def gain(self, saved_seconds: float) -> float:
        """Factor of the throughput if so much of a step is saved: T / (T - saved) (Amdahl 1967)."""
        step_seconds = self.step_seconds
        if saved_seconds <= 0 or not step_seconds:
            return 1.0
        return step_seconds / max(step_seconds - saved_seconds, step_seconds / MOST_GAIN)

    def gains(self, least_saved: float, most_saved: float, saved: float | None = None) -> Estimate:
        """The gain from the least to the most seconds that may be saved per step; `between` them without `saved`."""
        low, high = self.gain(least_saved), self.gain(max(least_saved, most_saved))
        return between(low, high, None if saved is None else self.gain(saved))


def between(low: float, high: float, value: float | None = None) -> Estimate:
    """A range with its value; without one, the geometric mean: nothing speaks for either end."""
    if value is None:
        value = math.sqrt(low * high)
    return Estimate(value=min(max(low, value), high), ci_low=low, ci_high=high)
