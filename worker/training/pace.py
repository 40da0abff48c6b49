"""Decides when a trial's warm-up and training end: after the requested steps, or earlier to keep its time limit.

Uses the host's clock alone. The host may be ahead of the device by the launch queue: about a thousand launches, which
is a few steps of most models, and more if steps are replayed as CUDA graphs.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from halftime.contract.request.training import TrainingConfig
from worker.messages import TimeLimit

#: Steps of the examinations after training, which no reported figure includes: one observed step; on a CPU, two for the
#: memory peaks; one for the memory breakdown.
OBSERVED_STEPS, PEAK_STEPS, ACCOUNT_STEPS = 1, 2, 1
EXAMINATION_STEPS = OBSERVED_STEPS + PEAK_STEPS + ACCOUNT_STEPS

#: Steps of the explanation, none of which is timed for a figure: one watched for its work, one after it; so many at
#: most under the profiler and, on a GPU, half as many before, and after.
PROFILED_STEPS = 3
EXPLANATION_STEPS = 2 + PROFILED_STEPS + 2 * math.ceil(PROFILED_STEPS / 2)

#: Warm-up ends after its first step if this many steps of that duration would exceed the trial's time.
FIRST_STEPS = 5

#: Duration of validating a batch, in training steps: the backward pass takes twice as long as the forward pass.
VALIDATION_STEP = 1 / 3

#: First words of the reason why an examination was skipped to keep the time limit.
NO_TIME = "for lack of time"


@dataclass(frozen=True)
class Part:
    """Consecutive steps of a trial, before and after which the device is idle: at least one."""

    is_measured: bool
    #: Whether the last step so far was the last of this part.
    is_over: Callable[[], bool]


class Pace:
    """Tracks the steps and the time of one trial."""

    def __init__(
        self,
        settings: TrainingConfig,
        limit: TimeLimit | None = None,
        max_steps: int | None = None,
        began: float | None = None,
    ) -> None:
        """`began`: start of the trial on the performance counter, default now."""
        self.steps = min(settings.steps, max_steps or settings.steps)
        self._warmup_steps = min(settings.warmup_steps, self.steps - 1)
        self._began = time.perf_counter() if began is None else began
        self._share_seconds = limit.share_seconds if limit else math.inf
        self._training_began = self._first_ended = self._began
        self._validation_steps = 0.0
        self._done = 0

    def start(self) -> None:
        """Notes the start of training."""
        self._training_began = self._first_ended = time.perf_counter()

    def parts(self) -> Iterator[Part]:
        """Yields the warm-up, if there is any, and the measured steps."""
        if not self.is_warm():
            yield Part(False, self.is_warm)
        yield Part(True, self.is_over)

    def waited(self, seconds: float) -> None:
        """Notes that training stood still."""
        self._training_began += seconds
        self._first_ended += seconds

    def keep(self, validation_steps: float) -> None:
        """Reserves time for validation, in training steps."""
        self._validation_steps = validation_steps

    @property
    def done(self) -> int:
        """Number of completed steps."""
        return self._done

    def count(self, done: int) -> None:
        """Notes the number of completed steps."""
        self._done = done
        if done == 1:
            self._first_ended = time.perf_counter()

    @property
    def step_seconds(self) -> float:
        """Mean duration of the steps after the first, which loads and compiles; until there are two, the first's."""
        if self._done < 2:
            return self._first_ended - self._training_began
        return (time.perf_counter() - self._first_ended) / (self._done - 1)

    @property
    def seconds_left(self) -> float:
        """Seconds left of the trial's share."""
        return self._began + self._share_seconds - time.perf_counter()

    @property
    def seconds_to_validate(self) -> float:
        """Seconds left for validation: without the time reserved for examinations."""
        return self.seconds_left - EXAMINATION_STEPS * self.step_seconds

    def is_warm(self) -> bool:
        """Whether warm-up is over: after its steps, or once it has taken half of the time for training.

        The first step is not representative: it ends warm-up only if five of its duration would exceed the time.
        """
        if self._done >= self._warmup_steps:
            return True
        trained_seconds = time.perf_counter() - self._training_began
        if self._done < 2:
            return self._done > 0 and FIRST_STEPS * trained_seconds > self._seconds_at_start()
        return trained_seconds + self.step_seconds > self._seconds_to_train() / 2

    def is_over(self) -> bool:
        """Whether training is over: all steps are done, or another would exceed the time."""
        if self._done >= self.steps:
            return True
        trained_seconds = time.perf_counter() - self._training_began
        return trained_seconds + self.step_seconds > self._seconds_to_train()

    def _seconds_at_start(self) -> float:
        return self._began + self._share_seconds - self._training_began

    def _seconds_to_train(self) -> float:
        """Seconds for training: without examinations, and without validation, which gets a quarter at most."""
        seconds, step_seconds = self._seconds_at_start(), self.step_seconds
        validation_seconds = min(self._validation_steps * step_seconds, seconds / 4)
        return seconds - EXAMINATION_STEPS * step_seconds - validation_seconds
