"""Blocks, their order, and the stopping rule: which leg runs next, and when it is enough.

A block is one trial of each leg from the same seed. Of four blocks, the first and the last run the baseline first,
the two between run it last (ABBA BAAB): a linear drift of clock or temperature cancels over every two blocks, and
noise that remembers itself from trial to trial makes neighbouring blocks as often too alike as too different.
"""

import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from app.contract.benchmark import Progress
from app.contract.block import Block, KeptBlock, LegOutcome
from app.contract.failure import Failure, FailureCode
from app.contract.precisions import PrecisionName, leg_names
from app.contract.report import Capacity, StoppedBy
from app.contract.request import BenchmarkRequest, MeasurementConfig
from app.contract.trial import TrialResult
from app.contract.worker import WorkerDevice
from worker.messages import TrialSpec
from worker.statistics import blocks_needed, log_ratios
from worker.telemetry.disturbance import disturbances

#: Failures that end one leg; every other one ends the benchmark.
LEG_FAILURES = frozenset({FailureCode.OUT_OF_MEMORY, FailureCode.NONFINITE_LOSS})

#: A trial may take this many times as long as the longest of its leg before it...
DEADLINE_FACTOR = 10
#: ...and this long in any case.
LEAST_DEADLINE_SECONDS = 120.0

#: A disturbed trial is run again so often...
MOST_REPEATS = 2
#: ...and all of a benchmark so often: on a machine that is never quiet, the report says so instead.
MOST_REPEATS_OF_ALL = 6


class BenchmarkFailed(Exception):
    """The benchmark ends without a report, with the typed failure that says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


#: Runs one trial within a deadline in seconds, telling of steps done; gives its result or why there is none.
TrialRunner = Callable[[TrialSpec, float, Callable[[int], None]], Awaitable[TrialResult | Failure]]

#: Is given every completed block, to keep it for an attempt that may follow.
BlockKeeper = Callable[[Block], Awaitable[None]]


@dataclass
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
class Comparison:
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
    blocks: int = 0
    #: The first ones, measured by an earlier attempt.
    reused: list[KeptBlock] = field(default_factory=list)
    #: When the last block ended, on the monotonic clock, in seconds.
    last_block_ended: float = 0.0
    #: Trials thrown away as disturbed.
    repeats: int = 0
    stopped_by: StoppedBy = "max_blocks"
    #: Of all blocks, those of earlier attempts included, and of the search for capacity.
    total_seconds: float = 0.0

    @classmethod
    def of(cls, request: BenchmarkRequest, device: WorkerDevice, parameter_count: int | None = None) -> "Comparison":
        """The legs of a request on a device."""
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

    def may_repeat(self) -> bool:
        """Whether a disturbed trial may be run again."""
        in_time = self.elapsed_seconds < self.request.config.measurement.time_budget_seconds
        return in_time and self.repeats < MOST_REPEATS_OF_ALL

    def can_compare(self) -> bool:
        """Whether a comparison can still be had."""
        return self.baseline.failure is None and any(leg.failure is None for leg in self.candidates)


async def _kept_nowhere(block: Block) -> None:
    """For comparisons that no other attempt follows."""


async def compare(
    comparison: Comparison,
    run_trial: TrialRunner,
    on_progress: Callable[[Progress], None],
    keep_block: BlockKeeper = _kept_nowhere,
    earlier: Sequence[KeptBlock] = (),
) -> Comparison:
    """Runs blocks until it is enough, after those of an earlier attempt. Raises BenchmarkFailed: no report can be."""
    stopped_by = _take_over(comparison, earlier)
    comparison.last_block_ended = time.monotonic()
    while stopped_by is None:
        block = await _run_block(comparison, run_trial, on_progress)
        if all(leg.failure is not None for leg in comparison.legs):
            assert comparison.baseline.failure is not None
            raise BenchmarkFailed(comparison.baseline.failure)
        stopped_by = _count(comparison, block)
        await keep_block(block)
    comparison.stopped_by = stopped_by
    for leg in comparison.legs:
        flag_disturbed(leg)
    return comparison


def _take_over(comparison: Comparison, earlier: Sequence[KeptBlock]) -> StoppedBy | None:
    """Goes through the blocks as if they were run now; why no further one is needed, if the last one told."""
    stopped_by = None
    for kept in earlier:
        for leg, outcome in zip(comparison.legs, kept.block.outcomes, strict=True):
            if outcome.trial is not None:
                leg.trials.append(outcome.trial)
            leg.failure = outcome.failure
        comparison.repeats += kept.block.repeats
        comparison.reused.append(kept)
        stopped_by = _count(comparison, kept.block)
    return stopped_by


async def _run_block(comparison: Comparison, run_trial: TrialRunner, on_progress: Callable[[Progress], None]) -> Block:
    index, repeats = comparison.blocks, comparison.repeats
    for position, leg in enumerate(_order(comparison.legs, index)):
        if leg.failure is None:
            await _run_leg(comparison, leg, position, run_trial, on_progress)
    began, comparison.last_block_ended = comparison.last_block_ended, time.monotonic()
    return Block(
        index=index,
        outcomes=[
            LegOutcome(precision=leg.precision, trial=leg.by_block().get(index), failure=leg.failure)
            for leg in comparison.legs
        ],
        seconds=comparison.last_block_ended - began,
        repeats=comparison.repeats - repeats,
    )


def _count(comparison: Comparison, block: Block) -> StoppedBy | None:
    """Adds a completed block; why no further one is needed, None if one is."""
    comparison.blocks += 1
    comparison.total_seconds += block.seconds
    return _enough(comparison, comparison.request.config.measurement, block.seconds)


async def _run_leg(
    comparison: Comparison,
    leg: LegRun,
    position: int,
    run_trial: TrialRunner,
    on_progress: Callable[[Progress], None],
) -> None:
    spec = TrialSpec(
        device=comparison.device.name,
        precision=leg.precision,
        leg_name=leg.name,
        block=comparison.blocks,
        position=position,
        model=comparison.request.model,
        training=comparison.request.config.training,
        data=comparison.request.config.data,
        parameter_count=comparison.parameter_count,
        examined=not leg.trials,
    )

    def after_step(step: int) -> None:
        on_progress(_progress(comparison, spec, step, comparison.elapsed_seconds))

    after_step(0)
    outcome = await _run_undisturbed(comparison, leg, spec, run_trial, after_step)
    after_step(spec.training.steps)
    if isinstance(outcome, TrialResult):
        leg.trials.append(outcome)
    failure = nonfinite(outcome) if isinstance(outcome, TrialResult) else outcome
    if failure is None:
        return
    is_baseline = leg is comparison.baseline
    if failure.code not in LEG_FAILURES or (is_baseline and failure.code is FailureCode.NONFINITE_LOSS):
        raise BenchmarkFailed(failure)
    leg.failure = failure


async def _run_undisturbed(
    comparison: Comparison, leg: LegRun, spec: TrialSpec, run_trial: TrialRunner, after_step: Callable[[int], None]
) -> TrialResult | Failure:
    """Runs a trial, and again while it is disturbed, as often as is allowed. The last one counts, not the best."""
    kept: TrialResult | None = None
    for repeats in range(MOST_REPEATS + 1):
        outcome = await run_trial(spec, _deadline_seconds(comparison, leg), after_step)
        if isinstance(outcome, Failure):
            return kept or outcome  # a trial that was disturbed is better than none
        kept = outcome.model_copy(update={"repeats": repeats})
        if not disturbances(kept, leg.trials) or not comparison.may_repeat():
            break
        comparison.repeats += repeats < MOST_REPEATS
    assert kept is not None
    return kept


def flag_disturbed(leg: LegRun) -> None:
    """Says of every trial why it may be spoiled, judged beside all the others of its leg."""
    leg.trials = [
        trial.model_copy(update={"disturbances": disturbances(trial, leg.trials[:index] + leg.trials[index + 1 :])})
        for index, trial in enumerate(leg.trials)
    ]


def nonfinite(trial: TrialResult) -> Failure | None:
    """Whether training broke down: a loss that is no number in a step that changed the weights, or at validation."""
    skipped = set(trial.grad_scaler.skipped_steps) if trial.grad_scaler else set()
    broken = [step for step, loss in enumerate(trial.loss_curve) if loss is None and step not in skipped]
    where = f"step {broken[0]}" if broken else "validation" if trial.validation_loss is None else None
    if trial.applied_steps == 0:
        where = "every step: the gradient scaler skipped them all"
    if where is None:
        return None
    return Failure.of(
        FailureCode.NONFINITE_LOSS,
        f"{trial.precision}: training broke down at {where} (block {trial.block}). Lower the learning rate or clip "
        f"gradients{', or use bf16' if trial.precision == 'fp16' else ''}.",
    )


def baseline_first(block: int) -> bool:
    """Of the block with this index; the first has index 0."""
    return block % 4 in {0, 3}


def _order(legs: list[LegRun], block: int) -> list[LegRun]:
    return legs if baseline_first(block) else legs[::-1]


def _enough(comparison: Comparison, measurement: MeasurementConfig, block_seconds: float) -> StoppedBy | None:
    """Why no further block is needed; None if one is."""
    if not comparison.can_compare():
        return "leg_failed"
    if 2 <= comparison.blocks <= measurement.min_blocks:  # a forecast, and with the last block of the pilot the plan
        comparison.planned_blocks = _plan(comparison, measurement)
    if comparison.blocks >= comparison.planned_blocks:
        reached = comparison.blocks >= _needed(comparison, measurement)
        return "target_ci" if reached else "max_blocks"
    budget_left = measurement.time_budget_seconds - comparison.total_seconds
    if comparison.blocks >= 2 and block_seconds > budget_left:
        return "time_budget"
    return None


def _plan(comparison: Comparison, measurement: MeasurementConfig) -> int:
    """Blocks after the pilot: as many as the interval needs, in even numbers where the request allows."""
    needed = max(measurement.min_blocks, _needed(comparison, measurement))
    even = needed + needed % 2 if needed > measurement.min_blocks else needed
    return min(measurement.max_blocks, even)


def _needed(comparison: Comparison, measurement: MeasurementConfig) -> int:
    """Blocks that the noisiest candidate needs, judged by the pilot."""
    pilots = []
    for leg in comparison.candidates:
        pairs = paired(comparison.baseline, leg)[: measurement.min_blocks]
        if leg.failure is None and len(pairs) >= 2:
            medians = [(median_step(one), median_step(other)) for one, other in pairs]
            pilots.append(log_ratios([a for a, _ in medians], [b for _, b in medians]))
    return max(blocks_needed(pilot, measurement.target_ci) for pilot in pilots)


def paired(baseline: LegRun, leg: LegRun) -> list[tuple[TrialResult, TrialResult]]:
    """The trials of the blocks in which both legs have one."""
    ours = baseline.by_block()
    return [(ours[block], trial) for block, trial in leg.by_block().items() if block in ours]


def median_step(trial: TrialResult) -> float:
    """Median seconds of the measured steps of a trial."""
    return statistics.median(trial.step_seconds)


def _deadline_seconds(comparison: Comparison, leg: LegRun) -> float:
    """Generous towards a slow trial, but no hang outlives it; a leg's first has the benchmark's own timeout."""
    longest = max((trial.trial_seconds for trial in leg.trials), default=None)
    timeout = comparison.request.config.timeout_seconds
    return timeout if longest is None else min(timeout, max(LEAST_DEADLINE_SECONDS, DEADLINE_FACTOR * longest))


def _progress(comparison: Comparison, spec: TrialSpec, step: int, elapsed_seconds: float) -> Progress:
    legs = len(comparison.legs)
    trials_done = comparison.blocks * legs + spec.position + step / spec.training.steps
    fraction = trials_done / (comparison.planned_blocks * legs)
    return Progress(
        phase="measure",
        block=comparison.blocks + 1,
        max_blocks=comparison.planned_blocks,
        leg=spec.leg,
        step=step,
        total_steps=spec.training.steps,
        fraction=round(fraction * comparison.share_of_blocks, 4),
        eta_seconds=round(elapsed_seconds * (1 - fraction) / fraction, 1) if fraction else None,
    )
