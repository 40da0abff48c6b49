"""Blocks, their order, and the stopping rule: which leg runs next, and when it is enough.

A block is one trial of each leg from the same seed. Of four blocks, the first and the last run the baseline first,
the two between run it last (ABBA BAAB): a linear drift of clock or temperature cancels over every two blocks, and
noise that remembers itself from trial to trial makes neighbouring blocks as often too alike as too different.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

from halftime.contract.report.block import Block, KeptBlock, LegOutcome
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import StoppedBy
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.request import MeasurementConfig
from halftime.contract.resources.benchmark import Progress
from worker.comparison.disturbance import disturbances
from worker.comparison.estimates import blocks_needed, log_ratios
from worker.comparison.legs import ComparisonRun, LegRun, median_step, paired
from worker.comparison.time_budget import limit_of_next_trial, out_of_time
from worker.messages import TimeLimit, TrialSpec

#: Failures that end one leg; every other one ends the benchmark.
LEG_FAILURES = frozenset({FailureCode.OUT_OF_MEMORY, FailureCode.NONFINITE_LOSS, FailureCode.TIME_BUDGET})

#: Of those, the ones with which the baseline ends the benchmark: what a candidate did means nothing then.
BASELINE_FAILURES = frozenset({FailureCode.NONFINITE_LOSS, FailureCode.TIME_BUDGET})

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


async def _kept_nowhere(block: Block) -> None:
    """For comparisons that no other attempt follows."""


async def compare(
    comparison: ComparisonRun,
    run_trial: TrialRunner,
    on_progress: Callable[[Progress], None],
    keep_block: BlockKeeper = _kept_nowhere,
    earlier: Sequence[KeptBlock] = (),
) -> ComparisonRun:
    """Runs blocks until it is enough, after those of an earlier attempt. Raises BenchmarkFailed: no report can be."""
    stopped_by = _resume_blocks(comparison, earlier)
    while stopped_by is None:
        block = await _run_block(comparison, run_trial, on_progress)
        if all(leg.failure is not None for leg in comparison.legs):
            assert comparison.baseline.failure is not None
            raise BenchmarkFailed(comparison.baseline.failure)
        if block is None:
            stopped_by = "time_budget"
        else:
            stopped_by = _count(comparison, block)
            await keep_block(block)
    comparison.stopped_by = stopped_by
    for leg in comparison.legs:
        flag_disturbed(leg)
    return comparison


def _resume_blocks(comparison: ComparisonRun, earlier: Sequence[KeptBlock]) -> StoppedBy | None:
    """Goes through the blocks as if they were run now; why no further one is needed, if the last one told."""
    stopped_by = None
    for kept in earlier:
        for leg, outcome in zip(comparison.legs, kept.block.outcomes, strict=True):
            if outcome.trial is not None:
                leg.trials.append(outcome.trial)
                _note_steps(comparison, outcome.trial)
            leg.failure = outcome.failure
        comparison.repeats += kept.block.repeats
        comparison.reused.append(kept)
        stopped_by = _count(comparison, kept.block)
    return stopped_by


async def _run_block(
    comparison: ComparisonRun, run_trial: TrialRunner, on_progress: Callable[[Progress], None]
) -> Block | None:
    """None where the time budget ended within it; its trials so far are kept."""
    index, repeats = comparison.blocks, comparison.repeats
    for position, leg in enumerate(_order(comparison.legs, index)):
        if leg.failure is None:
            await _run_leg(comparison, leg, position, run_trial, on_progress)
            if _lacks_trial(leg, index):  # the block will not be complete
                break
    began, comparison.last_block_ended = comparison.last_block_ended, time.monotonic()
    if any(_lacks_trial(leg, index) for leg in comparison.legs):
        comparison.total_seconds += comparison.last_block_ended - began
        return None
    return Block(
        index=index,
        outcomes=[
            LegOutcome(precision=leg.precision, trial=leg.by_block().get(index), failure=leg.failure)
            for leg in comparison.legs
        ],
        seconds=comparison.last_block_ended - began,
        repeats=comparison.repeats - repeats,
    )


def _lacks_trial(leg: LegRun, block: int) -> bool:
    """Whether a leg that has not failed has no trial in a block."""
    return leg.failure is None and block not in leg.by_block()


def _count(comparison: ComparisonRun, block: Block) -> StoppedBy | None:
    """Adds a completed block; why no further one is needed, None if one is."""
    comparison.blocks += 1
    comparison.total_seconds += block.seconds
    return _enough(comparison, comparison.request.config.measurement, block.seconds)


async def _run_leg(
    comparison: ComparisonRun,
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
        most_steps=comparison.most_steps,
    )
    steps_done = 0

    def after_step(step: int) -> None:
        nonlocal steps_done
        steps_done = step
        on_progress(_progress(comparison, spec, step, comparison.elapsed_seconds))

    after_step(0)
    outcome = await _run_undisturbed(comparison, leg, spec, run_trial, after_step)
    if isinstance(outcome, TrialResult):
        leg.trials.append(outcome)
        _note_steps(comparison, outcome)
    failure = nonfinite(outcome) if isinstance(outcome, TrialResult) else outcome
    if failure is None:
        after_step(spec.training.steps)
        return
    if failure.code is FailureCode.TIME_BUDGET:
        if leg.trials:  # what was measured before stands
            return
        failure = out_of_time(comparison, leg, steps_done)
    if failure.code not in LEG_FAILURES or (leg is comparison.baseline and failure.code in BASELINE_FAILURES):
        raise BenchmarkFailed(failure)
    leg.failure = failure


async def _run_undisturbed(
    comparison: ComparisonRun, leg: LegRun, spec: TrialSpec, run_trial: TrialRunner, after_step: Callable[[int], None]
) -> TrialResult | Failure:
    """Runs a trial, and again while it is disturbed, as often as is allowed. The last one counts, not the best."""
    kept: TrialResult | None = None
    for repeats in range(MOST_REPEATS + 1):
        limit = _limit(comparison, leg)
        if limit.most_seconds <= 0:
            return kept or Failure.of(FailureCode.TIME_BUDGET, "")
        outcome = await run_trial(
            spec.model_copy(update={"limit": limit}), _deadline_seconds(comparison, leg), after_step
        )
        if isinstance(outcome, Failure):
            return kept or outcome  # a trial that was disturbed is better than none
        if kept is not None and outcome.ended_early and not kept.ended_early:
            return kept  # the repetition did not fit after all
        kept = outcome.model_copy(update={"repeats": repeats})
        if not disturbances(kept, leg.trials) or not _may_repeat(comparison, leg, kept):
            break
        comparison.repeats += repeats < MOST_REPEATS
    assert kept is not None
    return kept


def _may_repeat(comparison: ComparisonRun, leg: LegRun, trial: TrialResult) -> bool:
    """Whether a disturbed trial may be run again: as often as is allowed, and if another of its length fits."""
    fits = (
        trial.trial_seconds
        <= limit_of_next_trial(comparison, leg, _order(comparison.legs, comparison.blocks)).share_seconds
    )
    return fits and comparison.repeats < MOST_REPEATS_OF_ALL


def _limit(comparison: ComparisonRun, leg: LegRun) -> TimeLimit:
    """Of the next trial of a leg in the block under way."""
    return limit_of_next_trial(comparison, leg, _order(comparison.legs, comparison.blocks))


def _note_steps(comparison: ComparisonRun, trial: TrialResult) -> None:
    """Lets no later trial do more steps than one that the time budget ended early."""
    if trial.ended_early:
        steps = len(trial.loss_curve)
        comparison.most_steps = min(comparison.most_steps or steps, steps)


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
    if trial.applied_steps == 0 and not trial.ended_early:  # a few steps may all be the scale coming down
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


def _enough(comparison: ComparisonRun, measurement: MeasurementConfig, block_seconds: float) -> StoppedBy | None:
    """Why no further block is needed; None if one is."""
    if not comparison.can_compare():
        out_of_time = any(leg.failure and leg.failure.code is FailureCode.TIME_BUDGET for leg in comparison.legs)
        return "time_budget" if out_of_time else "leg_failed"
    if 2 <= comparison.blocks <= measurement.min_blocks:  # a forecast, and with the last block of the pilot the plan
        comparison.planned_blocks = _plan(comparison, measurement)
    if comparison.blocks >= comparison.planned_blocks:
        reached = comparison.blocks >= _needed(comparison, measurement)
        return "target_ci" if reached else "max_blocks"
    # The second block is begun in any case: its trials share what is left. A further one has to fit.
    least_seconds = block_seconds if comparison.blocks >= 2 else 0
    return "time_budget" if comparison.seconds_left <= least_seconds else None


def _plan(comparison: ComparisonRun, measurement: MeasurementConfig) -> int:
    """Blocks after the pilot: as many as the interval needs, in even numbers where the request allows."""
    needed = max(measurement.min_blocks, _needed(comparison, measurement))
    even = needed + needed % 2 if needed > measurement.min_blocks else needed
    return min(measurement.max_blocks, even)


def _needed(comparison: ComparisonRun, measurement: MeasurementConfig) -> int:
    """Blocks that the noisiest candidate needs, judged by the pilot."""
    pilots = []
    for leg in comparison.candidates:
        pairs = paired(comparison.baseline, leg)[: measurement.min_blocks]
        if leg.failure is None and len(pairs) >= 2:
            medians = [(median_step(one), median_step(other)) for one, other in pairs]
            pilots.append(log_ratios([a for a, _ in medians], [b for _, b in medians]))
    return max(blocks_needed(pilot, measurement.target_ci) for pilot in pilots)


def _deadline_seconds(comparison: ComparisonRun, leg: LegRun) -> float:
    """Generous towards a slow trial, but no hang outlives it; a leg's first has the benchmark's own timeout."""
    longest = max((trial.trial_seconds for trial in leg.trials), default=None)
    timeout = comparison.request.config.timeout_seconds
    return timeout if longest is None else min(timeout, max(LEAST_DEADLINE_SECONDS, DEADLINE_FACTOR * longest))


def _progress(comparison: ComparisonRun, spec: TrialSpec, step: int, elapsed_seconds: float) -> Progress:
    legs = len(comparison.legs)
    trials_done = comparison.blocks * legs + spec.position + step / spec.training.steps
    fraction = trials_done / (comparison.planned_blocks * legs)
    eta_seconds = elapsed_seconds * (1 - fraction) / fraction if fraction else None
    return Progress(
        phase="measure",
        block=comparison.blocks + 1,
        max_blocks=comparison.planned_blocks,
        leg=spec.leg,
        step=step,
        total_steps=spec.training.steps,
        fraction=round(fraction * comparison.share_of_blocks, 4),
        eta_seconds=None if eta_seconds is None else round(max(0.0, min(eta_seconds, comparison.seconds_left)), 1),
    )
