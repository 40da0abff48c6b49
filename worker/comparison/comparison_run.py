"""State of a running comparison: its legs, their trials, and the time left."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from halftime.contract.precisions import PrecisionName, leg_names
from halftime.contract.report.block import KeptBlock, LegOutcome
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import AdviceName
from halftime.contract.report.failure import Failure
from halftime.contract.report.pairs import block_log_ratio
from halftime.contract.report.report import Capacity, StoppedBy
from halftime.contract.report.slices import Pairing, TurnsPlan
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice

#: Assumed share of the total work, for progress, of the search for capacity, and of the measurement of advice.
PART_OF_PROGRESS = 0.2


@dataclass(frozen=True)
class VerifiedGain:
    """The measured gain of a piece of advice."""

    #: Factor of the candidate's training throughput; null if it was not measured.
    gain: Estimate | None
    #: Why it was not, or what else is to be known of it.
    remark: str | None = None


@dataclass(eq=False)
class LegRun:
    """A leg and its trials so far, in the order of blocks."""

    name: str
    precision: PrecisionName
    trials: list[TrialResult] = field(default_factory=list)
    #: Its trial alone on the device, if the legs take turns.
    survey: TrialResult | None = None
    failure: Failure | None = None
    #: Why it ends before the others in its blocks, if it does.
    ended_early_reason: str | None = None
    #: Result of the search for the largest batch, if requested.
    capacity: Capacity | None = None
    #: Measured gains of the first pieces of advice on it, if requested.
    verified: dict[AdviceName, VerifiedGain] = field(default_factory=dict)

    def by_block(self) -> dict[int, TrialResult]:
        """Returns the trials by block index."""
        return {trial.block: trial for trial in self.trials}

    @property
    def measured_alone(self) -> list[TrialResult]:
        """The trials that were alone on the device from start to end, which alone are examined."""
        return [self.survey] if self.survey else self.trials

    @property
    def all_trials(self) -> list[TrialResult]:
        """The survey, if there is one, and the trials of all blocks."""
        return [self.survey, *self.trials] if self.survey else self.trials


@dataclass
class ComparisonRun:
    """State of a comparison while it runs, and its measurements afterwards."""

    request: BenchmarkRequest
    device: WorkerDevice
    baseline: LegRun
    candidates: list[LegRun]
    #: A second baseline, if requested.
    control: LegRun | None
    planned_blocks: int
    #: Set if the worker had to count them.
    parameter_count: int | None
    #: Monotonic time (seconds) at which the last block ended, or the attempt began.
    last_block_ended: float
    blocks: int = 0
    #: How the legs of a block are measured side by side, and why; null until the survey has shown whether they can take
    #: turns.
    pairing: Pairing | None = None
    pairing_reason: str = ""
    #: How the legs take turns, once that is planned.
    turns_plan: TurnsPlan | None = None
    #: The first blocks, if an earlier attempt measured them.
    reused: list[KeptBlock] = field(default_factory=list)
    #: Most steps of further trials, once the time budget has ended one early: this keeps legs comparable.
    max_steps: int | None = None
    #: Trials discarded as disturbed.
    repeats: int = 0
    stopped_by: StoppedBy = "max_blocks"
    #: Duration of all blocks, including those of earlier attempts, of the capacity search and the
    #: measurement of advice.
    total_seconds: float = 0.0

    @classmethod
    def of(
        cls,
        request: BenchmarkRequest,
        device: WorkerDevice,
        parameter_count: int | None = None,
        began: float | None = None,
    ) -> "ComparisonRun":
        """Creates the legs of a request on a device; `began` is the monotonic start time, default now."""
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
        """All legs in the order of a block: the baseline, the candidates, then the control, which is run last."""
        return [self.baseline, *self.candidates, *([self.control] if self.control else [])]

    @property
    def share_of_blocks(self) -> float:
        """Share of the blocks in the total work, for progress."""
        config = self.request.config
        return 1.0 - PART_OF_PROGRESS * (config.measurement.capacity + config.verifies_advice)

    @property
    def elapsed_seconds(self) -> float:
        """Duration of all blocks, including the current one, without pauses between attempts."""
        return self.total_seconds + time.monotonic() - self.last_block_ended

    @property
    def seconds_left(self) -> float:
        """Seconds left of the time budget."""
        return self.request.config.measurement.time_budget_seconds - self.elapsed_seconds

    @property
    def has_survey(self) -> bool:
        """Whether the survey has been run, and is not the first block."""
        return any(leg.survey for leg in self.legs)

    def time_block(self) -> float:
        """Ends the timing of a block, or of the survey: returns its seconds, and times the next."""
        began, self.last_block_ended = self.last_block_ended, time.monotonic()
        return self.last_block_ended - began

    def outcomes(self, block: int) -> list[LegOutcome]:
        """Returns what became of each leg in a block."""
        return [
            LegOutcome(
                precision=leg.precision,
                trial=leg.by_block().get(block),
                failure=leg.failure,
                ended_early_reason=leg.ended_early_reason,
            )
            for leg in self.legs
        ]

    def can_compare(self) -> bool:
        """Whether the baseline and at least one candidate have not failed."""
        return self.baseline.failure is None and any(leg.failure is None for leg in self.candidates)


def paired(baseline: LegRun, leg: LegRun) -> list[tuple[TrialResult, TrialResult]]:
    """Returns the pairs of trials of the blocks in which both legs have one."""
    ours = baseline.by_block()
    return [(ours[block], trial) for block, trial in leg.by_block().items() if block in ours]


def median_step(trial: TrialResult) -> float:
    """Median duration of a trial's measured steps, in seconds, without those that pick up after a wait."""
    return statistics.median(trial.compared_step_seconds())


def applied_share(trial: TrialResult) -> float:
    """Share of a trial's measured steps that changed the weights: the gradient scaler skips the others."""
    first = len(trial.loss_curve) - len(trial.step_seconds)
    skipped = trial.grad_scaler.skipped_steps if trial.grad_scaler else []
    return 1 - sum(step >= first for step in skipped) / len(trial.step_seconds)


def log_ratios(pairs: Sequence[tuple[TrialResult, TrialResult]]) -> list[float]:
    """Returns log(step time of the baseline / of the other leg) of every block."""
    ratios = [block_log_ratio(baseline, other) for baseline, other in pairs]
    return [ratio for ratio in ratios if ratio is not None]
