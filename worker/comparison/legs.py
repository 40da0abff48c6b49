"""A comparison under way: its legs, what their trials measured, and what it has left of its time."""

import statistics
import time
from dataclasses import dataclass, field

from halftime.contract.precisions import PrecisionName, leg_names
from halftime.contract.report.block import KeptBlock
from halftime.contract.report.failure import Failure
from halftime.contract.report.report import Capacity, StoppedBy
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice


@dataclass(eq=False)
class LegRun:
    """One leg and its trials so far, in the order of blocks."""

    name: str
    precision: PrecisionName
    trials: list[TrialResult] = field(default_factory=list)
    failure: Failure | None = None
    #: Where the request asks for it.
    capacity: Capacity | None = None

    def by_block(self) -> dict[int, TrialResult]:
        """Trials by the index of their block."""
        return {trial.block: trial for trial in self.trials}


@dataclass
class ComparisonRun:
    """A comparison under way, and afterwards what it measured."""

    request: BenchmarkRequest
    device: WorkerDevice
    baseline: LegRun
    candidates: list[LegRun]
    #: A second baseline, where the request asks for one.
    control: LegRun | None
    planned_blocks: int
    #: Where the worker had to count.
    parameter_count: int | None
    #: When the last block ended, on the monotonic clock, in seconds; before the first, when the attempt began.
    last_block_ended: float
    blocks: int = 0
    #: The first ones, measured by an earlier attempt.
    reused: list[KeptBlock] = field(default_factory=list)
    #: Steps of every further trial, once the time budget has ended one early: so that legs stay comparable.
    most_steps: int | None = None
    #: Trials thrown away as disturbed.
    repeats: int = 0
    stopped_by: StoppedBy = "max_blocks"
    #: Of all blocks, those of earlier attempts included, and of the search for capacity.
    total_seconds: float = 0.0

    @classmethod
    def of(
        cls,
        request: BenchmarkRequest,
        device: WorkerDevice,
        parameter_count: int | None = None,
        began: float | None = None,
    ) -> "ComparisonRun":
        """The legs of a request on a device; `began` is when its time began, on the monotonic clock, if not now."""
        precision, candidates = request.config.baseline, request.config.resolved_candidates(device.kind)
        names = iter(leg_names(precision, candidates, request.config.measurement.control))
        return cls(
            request=request,
            device=device,
            baseline=LegRun(next(names), precision),
            candidates=[LegRun(next(names), candidate) for candidate in candidates],
            control=LegRun(next(names), precision) if request.config.measurement.control else None,
            planned_blocks=request.config.measurement.min_blocks,
            parameter_count=parameter_count,
            last_block_ended=time.monotonic() if began is None else began,
        )

    @property
    def legs(self) -> list[LegRun]:
        """The baseline, then the candidates, then the control: as far from the baseline as a candidate may be."""
        return [self.baseline, *self.candidates, *([self.control] if self.control else [])]

    @property
    def share_of_blocks(self) -> float:
        """Of the whole work, for progress; the search for capacity is guessed to be a fifth of it."""
        return 0.8 if self.request.config.measurement.capacity else 1.0

    @property
    def elapsed_seconds(self) -> float:
        """What all blocks took, and the one under way so far; not what lies between two attempts."""
        return self.total_seconds + time.monotonic() - self.last_block_ended

    @property
    def seconds_left(self) -> float:
        """Of the time budget."""
        return self.request.config.measurement.time_budget_seconds - self.elapsed_seconds

    def can_compare(self) -> bool:
        """Whether a comparison can still be had."""
        return self.baseline.failure is None and any(leg.failure is None for leg in self.candidates)


def paired(baseline: LegRun, leg: LegRun) -> list[tuple[TrialResult, TrialResult]]:
    """The trials of the blocks in which both legs have one."""
    ours = baseline.by_block()
    return [(ours[block], trial) for block, trial in leg.by_block().items() if block in ours]


def median_step(trial: TrialResult) -> float:
    """Median seconds of the measured steps of a trial."""
    return statistics.median(trial.step_seconds)
