"""Runs blocks of trials. A block is one trial of each leg from the same seed."""

from collections.abc import Awaitable, Callable, Sequence

from halftime.contract.report.block import Block, KeptBlock
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.report import StoppedBy
from halftime.contract.report.trial import TrialResult
from halftime.contract.resources.benchmark import Progress
from worker.comparison.block_order import order_of_block
from worker.comparison.blocks_in_turns import (
    TurnsRunner,
    decide_pairing,
    run_in_turns,
    use_survey,
    use_survey_as_trials,
)
from worker.comparison.comparison_run import ComparisonRun, LegRun
from worker.comparison.deadlines import deadline_seconds
from worker.comparison.disturbance import MAX_TOTAL_REPEATS, disturbances
from worker.comparison.leg_failures import BenchmarkFailed, ends_benchmark, in_its_role
from worker.comparison.nonfinite import nonfinite
from worker.comparison.progress import progress_of
from worker.comparison.specs import spec_of
from worker.comparison.stopping_rule import stop_reason
from worker.comparison.time_budget import limit_of_next_trial, out_of_time
from worker.comparison.turns import why_trials
from worker.messages import TimeLimit, TrialSpec

#: Most repetitions of one disturbed trial. Of a survey fewer: no time that is compared comes from it, and on a machine
#: that is always busy every trial takes many times as long.
MAX_REPEATS, MAX_SURVEY_REPEATS = 2, 1
#: Why whole trials are run where a caller cannot run several at once.
ONE_AT_A_TIME = "trials are run one at a time here"

#: Runs one trial within a deadline (seconds) and calls the function with the number of steps done so far. Returns the
#: trial's result or failure.
TrialRunner = Callable[[TrialSpec, float, Callable[[int], None]], Awaitable[TrialResult | Failure]]

#: Stores each completed block for a later attempt.
BlockStore = Callable[[Block], Awaitable[None]]


async def _store_nothing(block: Block) -> None:
    """Stores nothing: for comparisons without later attempts."""


async def compare(
    comparison: ComparisonRun,
    run_trial: TrialRunner,
    on_progress: Callable[[Progress], None],
    keep_block: BlockStore = _store_nothing,
    earlier: Sequence[KeptBlock] = (),
    run_turns: TurnsRunner | None = None,
) -> ComparisonRun:
    """Runs blocks until the stopping rule ends it, after those of an earlier attempt.

    Without `run_turns`, blocks are whole trials. Raises BenchmarkFailed when a failure makes a report impossible.
    """
    stopped_by = _resume_blocks(comparison, earlier)
    if comparison.pairing is None:
        why = await why_trials(comparison.request, comparison.device) if run_turns else ONE_AT_A_TIME
        comparison.pairing, comparison.pairing_reason = (None, "") if why is None else ("trials", why)
    while stopped_by is None:
        block = await _next_block(comparison, run_trial, run_turns, on_progress)
        _require_a_measured_leg(comparison)
        if block is None:
            stopped_by = "time_budget"
        else:
            stopped_by = _add_block(comparison, block)
            await keep_block(block)
    if comparison.pairing == "turns" and not any(leg.trials for leg in comparison.legs):
        use_survey_as_trials(comparison, "the benchmark ended before the legs had taken turns")
        comparison.blocks = 1
    comparison.stopped_by = stopped_by
    for leg in comparison.legs:
        flag_disturbed(leg)
    return comparison


async def _next_block(
    comparison: ComparisonRun,
    run_trial: TrialRunner,
    run_turns: TurnsRunner | None,
    on_progress: Callable[[Progress], None],
) -> Block | None:
    """Runs the survey or the next block; None if the time budget ended during it."""
    if comparison.pairing == "turns" and run_turns is not None:
        return await run_in_turns(comparison, run_turns, on_progress)
    block = await _run_block(comparison, run_trial, on_progress)
    return decide_pairing(comparison, block) if block is not None and comparison.pairing is None else block


def _require_a_measured_leg(comparison: ComparisonRun) -> None:
    """Raises BenchmarkFailed when every leg has failed, or the device lacks the precision of every candidate."""
    if comparison.baseline.failure is not None and all(leg.failure is not None for leg in comparison.legs):
        raise BenchmarkFailed(comparison.baseline.failure)
    failures = [leg.failure for leg in comparison.candidates if leg.failure is not None]
    unsupported = [failure for failure in failures if failure.code is FailureCode.UNSUPPORTED_PRECISION]
    if len(unsupported) == len(comparison.candidates):
        raise BenchmarkFailed(unsupported[0])


def _resume_blocks(comparison: ComparisonRun, earlier: Sequence[KeptBlock]) -> StoppedBy | None:
    """Adds the blocks of an earlier attempt; returns why no further block is needed, None if one is."""
    stopped_by = None
    for kept in earlier:
        for leg, outcome in zip(comparison.legs, kept.block.outcomes, strict=True):
            if outcome.trial is not None:
                leg.trials.append(outcome.trial)
                if kept.block.pairing != "turns":
                    _limit_later_steps(comparison, outcome.trial)
            leg.failure, leg.ended_early_reason = outcome.failure, outcome.ended_early_reason
        comparison.repeats += kept.block.repeats
        comparison.reused.append(kept)
        if kept.block.pairing == "survey":
            use_survey(comparison)
        elif kept.block.pairing == "trials":
            comparison.pairing, comparison.pairing_reason = "trials", kept.block.pairing_reason
        else:
            comparison.turns_plan = kept.block.turns
        stopped_by = _add_block(comparison, kept.block)
    return stopped_by


async def _run_block(
    comparison: ComparisonRun, run_trial: TrialRunner, on_progress: Callable[[Progress], None]
) -> Block | None:
    """Runs one block; returns None if the time budget ended during it. Its finished trials are kept."""
    index, repeats = comparison.blocks, comparison.repeats
    for position, leg in enumerate(order_of_block(comparison.legs, index)):
        if leg.failure is None:
            await _run_leg(comparison, leg, position, run_trial, on_progress)
            if _lacks_trial(leg, index):  # the block cannot be completed
                break
    seconds = comparison.time_block()
    if any(_lacks_trial(leg, index) for leg in comparison.legs):
        comparison.total_seconds += seconds
        return None
    return Block(
        index=index,
        pairing_reason=comparison.pairing_reason,
        outcomes=comparison.outcomes(index),
        seconds=seconds,
        repeats=comparison.repeats - repeats,
    )


def _lacks_trial(leg: LegRun, block: int) -> bool:
    """Whether a leg has neither failed nor a trial in this block."""
    return leg.failure is None and block not in leg.by_block()


def _add_block(comparison: ComparisonRun, block: Block) -> StoppedBy | None:
    """Adds a completed block; returns why no further block is needed, None if one is."""
    comparison.total_seconds += block.seconds
    if block.pairing == "survey":
        return None
    comparison.blocks += 1
    return stop_reason(comparison, comparison.request.config.measurement, block.seconds)


async def _run_leg(
    comparison: ComparisonRun,
    leg: LegRun,
    position: int,
    run_trial: TrialRunner,
    on_progress: Callable[[Progress], None],
) -> None:
    spec = spec_of(comparison, leg, position)
    steps_done = 0

    def after_step(step: int) -> None:
        nonlocal steps_done
        steps_done = step
        on_progress(progress_of(comparison, spec, step))

    after_step(0)
    outcome = await _run_undisturbed(comparison, leg, spec, run_trial, after_step)
    if isinstance(outcome, TrialResult):
        leg.trials.append(outcome)
        _limit_later_steps(comparison, outcome)
    is_baseline = leg is comparison.baseline
    if isinstance(outcome, TrialResult):
        failure = nonfinite(comparison, leg, outcome)
    else:
        failure = in_its_role(outcome, is_baseline)
    if failure is None:
        after_step(spec.training.steps)
        return
    if failure.code is FailureCode.TIME_BUDGET:
        if leg.trials:  # earlier trials remain valid
            return
        failure = out_of_time(comparison, leg, steps_done)
    if ends_benchmark(failure, is_baseline):
        raise BenchmarkFailed(failure)
    leg.failure = failure


async def _run_undisturbed(
    comparison: ComparisonRun, leg: LegRun, spec: TrialSpec, run_trial: TrialRunner, after_step: Callable[[int], None]
) -> TrialResult | Failure:
    """Runs a trial and repeats it while it is disturbed, up to the limits. The last one counts, not the best."""
    kept: TrialResult | None = None
    most = MAX_SURVEY_REPEATS if spec.phase == "survey" else MAX_REPEATS
    for repeats in range(most + 1):
        limit = _limit(comparison, leg)
        if limit.max_seconds <= 0:
            return kept or Failure.of(FailureCode.TIME_BUDGET, "")
        outcome = await run_trial(
            spec.model_copy(update={"limit": limit}), deadline_seconds(comparison, leg), after_step
        )
        if isinstance(outcome, Failure):
            return kept or outcome  # a disturbed trial is better than none
        if kept is not None and outcome.ended_early and not kept.ended_early:
            return kept  # the repetition did not fit into the time left
        kept = outcome.model_copy(update={"repeats": repeats})
        if not disturbances(kept, leg.trials) or not _can_repeat(comparison, leg, kept):
            break
        comparison.repeats += repeats < most
    assert kept is not None
    return kept


def _can_repeat(comparison: ComparisonRun, leg: LegRun, trial: TrialResult) -> bool:
    """Whether a disturbed trial may be repeated: within the limit of repetitions, and if one of its length fits."""
    fits = (
        trial.trial_seconds
        <= limit_of_next_trial(comparison, leg, order_of_block(comparison.legs, comparison.blocks)).share_seconds
    )
    return fits and comparison.repeats < MAX_TOTAL_REPEATS


def _limit(comparison: ComparisonRun, leg: LegRun) -> TimeLimit:
    """Time limit of the leg's next trial in the current block."""
    return limit_of_next_trial(comparison, leg, order_of_block(comparison.legs, comparison.blocks))


def _limit_later_steps(comparison: ComparisonRun, trial: TrialResult) -> None:
    """Limits later trials to the steps of a trial that the time budget ended early."""
    if trial.ended_early:
        steps = len(trial.loss_curve)
        comparison.max_steps = min(comparison.max_steps or steps, steps)


def flag_disturbed(leg: LegRun) -> None:
    """Sets the disturbances of every whole trial, relative to the other trials of its leg."""
    if leg.survey is None:
        leg.trials = [
            trial.model_copy(update={"disturbances": disturbances(trial, leg.trials[:index] + leg.trials[index + 1 :])})
            for index, trial in enumerate(leg.trials)
        ]
