"""When warm-up and training of a trial end: after the steps asked for, or earlier to keep within its time limit.

Judged by the host's clock alone. A device that works through its queue behind the host is ahead by as much as its queue
holds, a few steps at most.
"""

import math
import time

from app.contract.training import TrainingConfig
from worker.messages import TimeLimit

#: What follows training takes, in training steps: one is observed; on a CPU, two tell the peaks of memory; one tells
#: what the peak consists of.
OBSERVED_STEPS, PEAK_STEPS, ACCOUNT_STEPS = 1, 2, 1

#: How the reason begins why something was left out to keep within the time limit.
NO_TIME = "for lack of time"


class Pace:
    """Counts the steps of one trial."""

    def __init__(
        self,
        settings: TrainingConfig,
        limit: TimeLimit | None = None,
        most_steps: int | None = None,
        began: float | None = None,
    ) -> None:
        """`began`: when the trial began, on the performance counter."""
        self.steps = min(settings.steps, most_steps or settings.steps)
        self._warmup_steps = min(settings.warmup_steps, self.steps - 1)
        self._began = time.perf_counter() if began is None else began
        self._share_seconds = limit.share_seconds if limit else math.inf
        self._training_began = self._began
        self._done = 0

    def start(self) -> None:
        """The first step is about to begin."""
        self._training_began = time.perf_counter()

    def count(self, done: int) -> None:
        """Notes how many steps are done."""
        self._done = done

    @property
    def step_seconds(self) -> float:
        """Mean seconds of the steps done so far, the first included; 0 before it."""
        return (time.perf_counter() - self._training_began) / self._done if self._done else 0.0

    @property
    def seconds_left(self) -> float:
        """Of the trial's share."""
        return self._began + self._share_seconds - time.perf_counter()

    def is_warm(self) -> bool:
        """Whether the next step is a measured one: after warm-up, or once it has taken half of the time there is."""
        if self._done >= self._warmup_steps:
            return True
        trained_seconds = time.perf_counter() - self._training_began
        return self._done > 0 and trained_seconds + self.step_seconds > self._seconds_to_train() / 2

    def is_over(self) -> bool:
        """Whether no further step is to follow a measured one."""
        if self._done >= self.steps:
            return True
        trained_seconds = time.perf_counter() - self._training_began
        return trained_seconds + self.step_seconds > self._seconds_to_train()

    def _seconds_to_train(self) -> float:
        kept_seconds = (OBSERVED_STEPS + PEAK_STEPS + ACCOUNT_STEPS) * self.step_seconds
        return self._began + self._share_seconds - kept_seconds - self._training_began
