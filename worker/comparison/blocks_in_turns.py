"""Runs a block whose legs take turns, and falls back to whole trials where turns turn out to be unfair."""

from collections.abc import Awaitable, Callable, Sequence

from halftime.contract.report.block import Block
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from halftime.contract.resources.benchmark import Progress
from worker.comparison.comparison_run import ComparisonRun, LegRun, median_step
from worker.comparison.deadlines import deadline_seconds
from worker.comparison.disturbance import MAX_TOTAL_REPEATS, disturbances, flag_disturbed_slices, of_the_whole_trial
from worker.comparison.leg_failures import BenchmarkFailed, ends_benchmark, in_its_role
from worker.comparison.nonfinite import nonfinite
from worker.comparison.progress import progress_in_turns
from worker.comparison.specs import spec_of
from worker.comparison.time_budget import LEAST_BLOCKS, limit_of_block
from worker.comparison.turns import SPIN_SECONDS, describe, plan_turns, turns_of, why_no_room
from worker.messages import AfterStepInTurns, BlockTurns, LegTurns, OutcomeInTurns, TrialSpec

#: Most CPU cores that a leg may use while it waits for its turn: threads that spin slow the leg whose turn it is.
MOST_WAITING_CORES = 0.1

#: Runs the trials of a block in turns within a deadline (seconds), and returns the outcome of each.
TurnsRunner = Callable[
    [Sequence[TrialSpec], BlockTurns, float, AfterStepInTurns],
    Awaitable[list[OutcomeInTurns]],
]


def decide_pairing(comparison: ComparisonRun, first: Block) -> Block:
    """Decides after each leg has been trained alone whether they take turns: then that was the survey, else a block."""
    surveys = [leg.trials[0] for leg in comparison.legs if leg.trials]
    why = why_no_room(surveys, comparison.device) if comparison.can_compare() else "no pair of legs is left to compare"
    if why is not None:
        comparison.pairing, comparison.pairing_reason = "trials", why
        return first.model_copy(update={"pairing": "trials", "pairing_reason": why})
    use_survey(comparison)
    return first.model_copy(update={"pairing": "survey", "pairing_reason": comparison.pairing_reason})


def use_survey(comparison: ComparisonRun) -> None:
    """Makes the trials so far the survey of their legs, which take turns from now on."""
    for leg in comparison.legs:
        if leg.trials:
            survey = leg.trials.pop()
            leg.survey = survey.model_copy(update={"disturbances": disturbances(survey, [])})
    comparison.max_steps = None  # of a leg that the survey cut short; in turns, legs are cut short together
    comparison.pairing = "turns"
    comparison.pairing_reason = "the legs fit on the device together, and nothing works for a leg that waits"


async def run_in_turns(
    comparison: ComparisonRun, run_turns: TurnsRunner, on_progress: Callable[[Progress], None]
) -> Block | None:
    """Runs one block in turns; None if the time budget ended during it.

    Returns the survey as the first block of whole trials where turns are unfair. Raises BenchmarkFailed when a failure
    makes a report impossible.
    """
    legs, repeats = [leg for leg in comparison.legs if leg.failure is None], comparison.repeats
    turns = _plan(comparison, legs)
    limit = limit_of_block(comparison)
    if limit.max_seconds <= 0:
        return None
    specs = [
        spec_of(comparison, leg, position).model_copy(update={"limit": limit}) for position, leg in enumerate(legs)
    ]
    done, steps = dict.fromkeys((spec.leg for spec in specs), 0), sum(leg.steps for leg in turns.legs)

    def after_step(spec: TrialSpec, step: int) -> None:
        done[spec.leg] = step
        on_progress(progress_in_turns(comparison, spec, step, sum(done.values()) / steps))

    after_step(specs[0], 0)
    deadline = sum(deadline_seconds(comparison, leg) for leg in legs)
    outcomes = await run_turns(specs, turns, deadline, after_step)
    while _are_disturbed(outcomes) and _can_repeat(comparison, turns):
        comparison.repeats += len(legs)
        limit = limit_of_block(comparison)
        again = await run_turns(
            [spec.model_copy(update={"limit": limit}) for spec in specs], turns, deadline, after_step
        )
        if not all(isinstance(outcome, TrialResult) for outcome in again):
            break  # a disturbed block is better than none
        outcomes = again
    why = why_unfair(legs, outcomes)
    if why is not None:
        return _fall_back(comparison, why)
    return _block_of(comparison, legs, outcomes, repeats)


def _plan(comparison: ComparisonRun, legs: Sequence[LegRun]) -> BlockTurns:
    """Plans the turns of the next block: those of earlier blocks, so that all have the same."""
    training = comparison.request.config.training
    surveys = [leg.survey for leg in legs if leg.survey is not None]
    if all(leg.trials for leg in legs):
        return turns_of([max(leg.trials, key=lambda trial: len(trial.slices)) for leg in legs], surveys)
    blocks_left = max(1, comparison.planned_blocks - comparison.blocks)
    least_blocks_left = max(1, LEAST_BLOCKS - comparison.blocks)
    seconds_left = comparison.seconds_left
    turns = plan_turns(
        surveys, training.steps, training.warmup_steps, seconds_left / blocks_left, seconds_left / least_blocks_left
    )
    for leg, of_leg in zip(legs, turns.legs, strict=True):
        if len(of_leg.slices) < turns.rounds:
            leg.ended_early_reason = _why_early(comparison, leg, of_leg, min(map(median_step, surveys)))
    comparison.turns_plan = describe(turns, surveys)
    return turns


def _why_early(comparison: ComparisonRun, leg: LegRun, turns: LegTurns, fastest_seconds: float) -> str:
    """Why a leg ends before the others in a block, and what to change."""
    assert leg.survey is not None
    seconds = median_step(leg.survey)
    support = comparison.device.support_of(leg.precision)
    emulated = f" {support.remedy}" if support and support.kernels == "emulated" else ""
    return (
        f"a step takes {seconds:.3g} s, {seconds / fastest_seconds:.0f} times as long as the fastest leg's, so in each "
        f"block it ended after {turns.steps} of {comparison.request.config.training.steps} steps to keep the time "
        f"budget; its loss and accuracy are unknown.{emulated} Raise measurement.time_budget_seconds to have them."
    )


def _are_disturbed(outcomes: Sequence[OutcomeInTurns]) -> bool:
    """Whether other work on the GPU, or its errors, spoiled the block as a whole."""
    return any(of_the_whole_trial(outcome) for outcome in outcomes if isinstance(outcome, TrialResult))


def _can_repeat(comparison: ComparisonRun, turns: BlockTurns) -> bool:
    fits = turns.seconds <= limit_of_block(comparison).share_seconds
    return fits and comparison.repeats < MAX_TOTAL_REPEATS


def why_unfair(legs: Sequence[LegRun], outcomes: Sequence[OutcomeInTurns]) -> str | None:
    """Why the legs cannot share the device after all; None if they can."""
    for leg, outcome in zip(legs, outcomes, strict=True):
        if isinstance(outcome, Failure) and outcome.code is FailureCode.OUT_OF_MEMORY:
            return f"{leg.name} ran out of memory beside the other legs, not alone"
        if isinstance(outcome, TrialResult) and _works_while_it_waits(outcome):
            return f"{leg.name} used {waiting_cores([outcome]):.2g} CPU cores while it waited for its turn"
    return None


def _works_while_it_waits(trial: TrialResult) -> bool:
    waited_seconds = sum(one.waited_seconds for one in trial.slices)
    spun_seconds = SPIN_SECONDS * trial.environment.threads * len(trial.slices)
    used_seconds = sum(one.waiting_cpu_seconds for one in trial.slices)
    return used_seconds - spun_seconds > MOST_WAITING_CORES * waited_seconds


def waiting_cores(trials: Sequence[TrialResult]) -> float | None:
    """Mean number of CPU cores that a leg used while it waited for its turn; None if it took no turns."""
    slices = [one for trial in trials for one in trial.slices]
    seconds = sum(one.waited_seconds for one in slices)
    return sum(one.waiting_cpu_seconds for one in slices) / seconds if seconds else None


def _fall_back(comparison: ComparisonRun, why: str) -> Block:
    """Discards the blocks in turns; the survey becomes the first block of whole trials."""
    use_survey_as_trials(comparison, why)
    comparison.blocks, comparison.reused = 0, []
    comparison.planned_blocks = comparison.request.config.measurement.min_blocks
    seconds = comparison.total_seconds + comparison.time_block()
    comparison.total_seconds = 0.0
    return Block(
        index=0,
        pairing="trials",
        pairing_reason=why,
        outcomes=comparison.outcomes(0),
        seconds=seconds,
        repeats=comparison.repeats,
    )


def use_survey_as_trials(comparison: ComparisonRun, why: str) -> None:
    """Makes the survey the only trial of each leg, in a block of whole trials."""
    for leg in comparison.legs:
        leg.trials = [leg.survey] if leg.survey else []
        leg.survey = leg.ended_early_reason = None
    comparison.pairing, comparison.pairing_reason = "trials", why
    comparison.turns_plan = None
    shortened = [len(trial.loss_curve) for leg in comparison.legs for trial in leg.trials if trial.ended_early]
    comparison.max_steps = min(shortened, default=None)


def _block_of(
    comparison: ComparisonRun, legs: Sequence[LegRun], outcomes: Sequence[OutcomeInTurns], repeats: int
) -> Block | None:
    """Adds the trials to their legs and returns the block; None if the time budget ended it. `repeats` were before it.

    A block that a failure of one leg ended has no trial of the others.
    """
    for leg, outcome in zip(legs, outcomes, strict=True):
        is_baseline = leg is comparison.baseline
        if isinstance(outcome, TrialResult):
            leg.trials.append(outcome)
            failure = nonfinite(comparison, leg, outcome)
        else:
            failure = in_its_role(outcome, is_baseline) if outcome else None
        if failure is None or failure.code is FailureCode.TIME_BUDGET:
            continue
        if ends_benchmark(failure, is_baseline):
            raise BenchmarkFailed(failure)
        leg.failure = failure
    flag_disturbed_slices(legs)
    index, seconds = comparison.blocks, comparison.time_block()
    if all(leg.failure is None for leg in legs) and any(index not in leg.by_block() for leg in legs):
        comparison.total_seconds += seconds
        return None
    return Block(
        index=index + 1,
        pairing="turns",
        pairing_reason=comparison.pairing_reason,
        turns=comparison.turns_plan,
        outcomes=comparison.outcomes(index),
        seconds=seconds,
        repeats=comparison.repeats - repeats,
    )
