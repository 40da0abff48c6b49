"""When warm-up and training of a trial end: after the steps asked for, or earlier to keep within its time limit.

Judged by the host's clock alone. A device that works through its queue behind the host is ahead by as much as the queue
holds: about a thousand launches, which is a few steps of most models, and more where steps are replayed as CUDA graphs.
"""

import math
import time

from halftime.contract.request.training import TrainingConfig
from worker.messages import TimeLimit

#: What follows training takes, in training steps: one is observed; on a CPU, two tell the peaks of memory; one tells
#: what the peak consists of.
OBSERVED_STEPS, PEAK_STEPS, ACCOUNT_STEPS = 1, 2, 1
EXAMINED_STEPS = OBSERVED_STEPS + PEAK_STEPS + ACCOUNT_STEPS

#: Warm-up ends with the first step if so many like it would fill the time.
FIRST_STEPS = 5

#: What validation of a batch takes, in training steps: a training step goes backward too, which takes twice as long.
VALIDATION_STEP = 1 / 3

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
        self._training_began = self._first_ended = self._began
        self._validation_steps = 0.0
        self._done = 0

    def start(self) -> None:
        """The first step is about to begin."""
        self._training_began = self._first_ended = time.perf_counter()

    def keep(self, validation_steps: float) -> None:
        """Notes how long validation takes, in training steps."""
        self._validation_steps = validation_steps

    def count(self, done: int) -> None:
        """Notes how many steps are done."""
        self._done = done
        if done == 1:
            self._first_ended = time.perf_counter()

    @property
    def step_seconds(self) -> float:
        """Mean seconds of the steps after the first, which loads and compiles; its own before there is another."""
        if self._done < 2:
            return self._first_ended - self._training_began
        return (time.perf_counter() - self._first_ended) / (self._done - 1)

    @property
    def seconds_left(self) -> float:
        """Of the trial's share."""
        return self._began + self._share_seconds - time.perf_counter()

    @property
    def seconds_to_validate(self) -> float:
        """What is left beside the examinations that are to follow."""
        return self.seconds_left - EXAMINED_STEPS * self.step_seconds

    def is_warm(self) -> bool:
        """Whether the next step is a measured one: after warm-up, or once it has taken half of the time there is.

        The first step tells little of the others: it ends warm-up only if five like it would fill the time.
        """
        if self._done >= self._warmup_steps:
            return True
        trained_seconds = time.perf_counter() - self._training_began
        if self._done < 2:
            return self._done > 0 and FIRST_STEPS * trained_seconds > self._seconds_at_start()
        return trained_seconds + self.step_seconds > self._seconds_to_train() / 2

    def is_over(self) -> bool:
        """Whether no further step is to follow a measured one."""
        if self._done >= self.steps:
            return True
        trained_seconds = time.perf_counter() - self._training_began
        return trained_seconds + self.step_seconds > self._seconds_to_train()

    def _seconds_at_start(self) -> float:
        return self._began + self._share_seconds - self._training_began

    def _seconds_to_train(self) -> float:
        """What validation and examinations leave of the time; validation may be cut as well, and keeps a quarter."""
        seconds, step_seconds = self._seconds_at_start(), self.step_seconds
        validation_seconds = min(self._validation_steps * step_seconds, seconds / 4)
        return seconds - EXAMINED_STEPS * step_seconds - validation_seconds
