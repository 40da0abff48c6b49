"""Deadlines of stages, from the sum of shares so far: time that one stage leaves unused goes to the next."""

import time
from dataclasses import dataclass

#: Time reserved for ending processes and writing the summary: seconds, and the largest share of a small budget.
KEPT_SECONDS, KEPT_SHARE = 8.0, 0.1


@dataclass(frozen=True)
class Timetable:
    """A budget that starts at `began`, on the machine's monotonic clock."""

    began: float
    budget_seconds: float

    def end_of(self, share: float) -> "Deadline":
        """Deadline of the stage whose shares so far sum to this, with the reserve subtracted."""
        kept = min(KEPT_SECONDS, KEPT_SHARE * self.budget_seconds)
        return Deadline(self.began + share * (self.budget_seconds - kept))


@dataclass(frozen=True)
class Deadline:
    """A time on the monotonic clock, which all processes of a machine share."""

    moment: float

    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 after it."""
        return max(0.0, self.moment - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """The earlier of this deadline and this many seconds from now."""
        return Deadline(min(self.moment, time.monotonic() + seconds))
