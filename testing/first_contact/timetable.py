"""When a stage must have ended: the sum of the shares up to its own, so that what one leaves over the next may use."""

import time
from dataclasses import dataclass

#: For what ends a process and writes the summary: so long, of a small budget this share.
KEPT_SECONDS, KEPT_SHARE = 8.0, 0.1


@dataclass(frozen=True)
class Timetable:
    """A budget that runs since `began`, on the monotonic clock of the machine."""

    began: float
    budget_seconds: float

    def end_of(self, share: float) -> "Deadline":
        """When this share of the budget has passed, but for what is kept for the end."""
        kept = min(KEPT_SECONDS, KEPT_SHARE * self.budget_seconds)
        return Deadline(self.began + share * (self.budget_seconds - kept))


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock, which all processes of a machine share."""

    moment: float

    def seconds_left(self) -> float:
        """Until then; 0 after it."""
        return max(0.0, self.moment - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """The earlier of this one and so many seconds from now."""
        return Deadline(min(self.moment, time.monotonic() + seconds))
