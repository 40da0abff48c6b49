"""Searches for the largest batch that fits, by doubling and bisection in fresh processes, and its throughput.

On a GPU a batch fits if it trains without running out of the device's memory, or of the limit in the request. On a CPU,
which has no such hard limit, it fits if its peak is within the limit in the request.
"""

import time
from collections.abc import Callable

import anyio

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import Capacity
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.training import MAX_BATCH_SIZE
from halftime.contract.resources.benchmark import Progress
from worker.comparison.blocks import TrialRunner
from worker.comparison.comparison_run import PART_OF_PROGRESS, ComparisonRun, LegRun, median_step
from worker.device.host_counters import available_host_bytes
from worker.messages import TrialSpec

MIB = 2**20

#: Steps of an attempt: optimizer state exists after the first.
FIT_STEPS, FIT_WARMUP_STEPS = 3, 1

#: Steps of the throughput measurement at the largest batch.
THROUGHPUT_STEPS, THROUGHPUT_WARMUP_STEPS = 13, 3

#: Batches held on the device, the same in both, because they take memory too.
MOST_BATCHES = 2

#: The search ends when the bracket is narrower than this share of the largest batch that fits.
RESOLUTION = 1 / 64

#: Largest limit on a CPU, as a share of available memory: an attempt may be twice as large as the last that fitted.
SHARE_OF_HOST_MEMORY = 0.5


async def measure_capacity(
    comparison: ComparisonRun, run_trial: TrialRunner, on_progress: Callable[[Progress], None]
) -> None:
    """Sets the capacity of every leg: partial if the time is over before its search ends, empty if the leg failed.

    A leg that ran out of memory is searched too: a smaller batch may fit.
    """
    began = time.monotonic()
    limit_bytes = memory_limit_bytes(comparison)
    if comparison.device.kind == "cpu" and limit_bytes is None:
        return
    config = comparison.request.config
    left_seconds = config.timeout_seconds - comparison.total_seconds
    searches = [
        _Search(comparison, leg, limit_bytes, run_trial) for leg in [comparison.baseline, *comparison.candidates]
    ]
    budget = anyio.move_on_after(min(config.measurement.time_budget_seconds, left_seconds))
    try:
        with budget:
            for index, search in enumerate(searches):
                on_progress(_progress(comparison, search, index / len(searches)))
                await search.run()
    finally:
        for search in searches:
            if search.has_ended or budget.cancelled_caught:  # else an error of ours ended it
                search.leg.capacity = search.result()
        comparison.total_seconds += time.monotonic() - began


def memory_limit_bytes(comparison: ComparisonRun) -> int | None:
    """Memory limit of a leg; on a CPU at most half of the available memory. None: a whole GPU, or no limit given."""
    requested_mib = comparison.request.config.measurement.capacity_memory_mib
    if requested_mib is None:
        return None
    available = available_host_bytes() if comparison.device.kind == "cpu" else comparison.device.memory_bytes
    share = SHARE_OF_HOST_MEMORY if comparison.device.kind == "cpu" else 1
    return requested_mib * MIB if available is None else min(requested_mib * MIB, int(share * available))


class _Search:
    """The search for one leg."""

    def __init__(self, comparison: ComparisonRun, leg: LegRun, limit_bytes: int | None, run_trial: TrialRunner) -> None:
        self.leg = leg
        self._request, self._device = comparison.request, comparison.device
        self._parameter_count = comparison.parameter_count
        self._limit_bytes, self._run_trial = limit_bytes, run_trial
        self._unit = self._request.config.training.gradient_accumulation
        self._fits: int | None = None
        self._too_large: int | None = None
        self._at_largest: TrialResult | None = None
        self._failure = leg.failure if leg.failure and leg.failure.code is not FailureCode.OUT_OF_MEMORY else None
        self._attempts = 0
        self._finished = False

    async def run(self) -> None:
        """Brackets the largest batch that fits, narrows the bracket, and measures throughput there."""
        size: int | None = self._request.config.training.batch_size
        while size is not None and self._failure is None:
            if await self._try(size, FIT_STEPS, FIT_WARMUP_STEPS) is not None:
                self._fits = size
            elif self._failure is None:
                self._too_large = size
            size = None if self._failure else self._next()
        while self._fits is not None and self._failure is None and self._at_largest is None:
            self._at_largest = await self._try(self._fits, THROUGHPUT_STEPS, THROUGHPUT_WARMUP_STEPS)
            if self._at_largest is None and self._failure is None:  # it fitted only for the few steps of an attempt
                self._too_large = self._fits
                self._fits = max(0, self._fits - self._step(self._fits)) or None
        self._finished = self._failure is None

    @property
    def has_ended(self) -> bool:
        """Whether the search has its result, or a failure ended it."""
        return self._finished or self._failure is not None

    def result(self) -> Capacity:
        """The result so far, whether or not the search is finished."""
        trial = self._at_largest
        return Capacity(
            largest_batch_size=self._fits,
            smallest_too_large=self._too_large,
            limit_bytes=self._limit_bytes,
            peak_memory_bytes=trial.memory.peak_bytes if trial and trial.memory else None,
            samples_per_second=self._fits / median_step(trial) if trial and self._fits else None,
            tries=self._attempts,
            stopped_by="failure" if self._failure else "found" if self._finished else "time_budget",
            failure=self._failure,
        )

    def _next(self) -> int | None:
        """The next size to try; None if the bracket is narrow enough or no size is left."""
        if self._too_large is None:
            assert self._fits is not None
            doubled = min(2 * self._fits, MAX_BATCH_SIZE // self._unit * self._unit)
            return doubled if doubled > self._fits else None
        if self._fits is None:
            halved = self._too_large // 2 // self._unit * self._unit
            return halved or None
        middle = (self._fits + self._too_large) // 2 // self._unit * self._unit
        narrow = self._too_large - self._fits <= self._step(self._fits)
        return None if narrow or middle <= self._fits else middle

    def _step(self, size: int) -> int:
        """The resolution at a size, in multiples of the unit."""
        return max(self._unit, int(size * RESOLUTION) // self._unit * self._unit)

    async def _try(self, batch_size: int, steps: int, warmup_steps: int) -> TrialResult | None:
        """Runs a trial; returns it if it fits, else None. A failure other than out of memory is stored."""
        changes = {"batch_size": batch_size, "steps": steps, "warmup_steps": warmup_steps, "validation_samples": 1}
        changes |= {"schedule_warmup_steps": 0}  # the run is shorter; memory and time per step are the same
        spec = TrialSpec(
            device=self._device.name,
            precision=self.leg.precision,
            leg_name=self.leg.name,
            block=0,
            position=0,
            model=self._request.model,
            training=self._request.config.training.model_copy(update=changes),
            data=self._request.config.data,
            adapters=self._request.config.adapters,
            parameter_count=self._parameter_count,
            phase="capacity",
            max_batches=MOST_BATCHES,
            memory_limit_bytes=self._limit_bytes,
        )
        self._attempts += 1
        outcome = await self._run_trial(spec, self._request.config.timeout_seconds, lambda step: None)
        if isinstance(outcome, TrialResult) and outcome.memory is None:
            reason = outcome.not_examined.get("memory")
            self._failure = Failure.of(FailureCode.INTERNAL, f"The peak memory could not be measured: {reason}.")
            return None
        if isinstance(outcome, TrialResult):
            assert outcome.memory is not None
            needed_bytes = max(outcome.memory.peak_bytes, outcome.memory.first_step_peak_bytes)
            within = self._limit_bytes is None or needed_bytes <= self._limit_bytes
            return outcome if within else None
        if outcome.code is not FailureCode.OUT_OF_MEMORY:
            self._failure = outcome
        return None


def _progress(comparison: ComparisonRun, search: _Search, share: float) -> Progress:
    return Progress(
        phase="capacity",
        block=comparison.blocks,
        max_blocks=comparison.blocks,
        leg=search.leg.name,
        step=0,
        total_steps=FIT_STEPS,
        fraction=round(comparison.share_of_blocks + PART_OF_PROGRESS * share, 4),
        eta_seconds=None,
    )
