"""Divides the time budget among trials so that none starts or continues beyond it.

An interval needs at least two blocks. So until the first block has ended, the budget is shared among the trials of
two blocks, and before that among those and the survey; afterwards the trials of a block share the time left. A leg's
next trial is expected to take as long as its last.
"""

from collections.abc import Sequence

from halftime.contract.report.failure import Failure, FailureCode
from worker.comparison.comparison_run import ComparisonRun, LegRun, median_step
from worker.messages import TimeLimit

#: Margin between a trial's soft and hard limit: a share of its time, or a number of seconds if that is more.
SLACK, LEAST_SLACK_SECONDS = 0.05, 1.0

#: Blocks that an interval needs.
LEAST_BLOCKS = 2

#: Expected duration of a trial in seconds; None before its leg's first.
Expected = float | None


def limit_of_next_trial(comparison: ComparisonRun, leg: LegRun, order: Sequence[LegRun]) -> TimeLimit:
    """Returns the time limit of the leg's next trial; `order` is the order of the legs in the block."""
    alive = [one for one in order if one.failure is None]
    later = alive * _required_blocks(comparison)
    return time_limit(
        comparison.seconds_left,
        [_expected_seconds(comparison, other) for other in alive[alive.index(leg) + 1 :]],
        [_expected_seconds(comparison, other) for other in later],
    )


def _required_blocks(comparison: ComparisonRun) -> int:
    """Number of blocks that an interval needs after the current block or survey."""
    return max(0, LEAST_BLOCKS - comparison.blocks - (comparison.pairing is not None))


def limit_of_block(comparison: ComparisonRun) -> TimeLimit:
    """Returns the time limit of the next block, whose legs take turns: its trials begin and end together.

    Required blocks share the time left equally: on a machine that has slowed since the survey, all are cut alike.
    """
    return time_limit(comparison.seconds_left, [], [None] * _required_blocks(comparison))


def _expected_seconds(comparison: ComparisonRun, leg: LegRun) -> float | None:
    """Expected duration of the leg's next trial: as long as its last, or less if it has fewer steps."""
    if not leg.trials:
        return None
    last = leg.trials[-1]
    steps = len(last.loss_curve)
    fewer = max(0, steps - (comparison.max_steps or steps))
    return last.trial_seconds - last.training_time_seconds * fewer / steps


def out_of_time(comparison: ComparisonRun, leg: LegRun, steps_done: int) -> Failure:
    """Builds the failure of a leg whose first trial did not finish in time."""
    budget_seconds = comparison.request.config.measurement.time_budget_seconds
    settings = comparison.request.config.training
    step_time = (
        f"; a step of {comparison.baseline.name} takes {median_step(comparison.baseline.trials[0]):.3g} s"
        if comparison.baseline.trials
        else ""
    )
    lost = "whose measurements were lost" if steps_done > settings.warmup_steps else "too few to measure"
    support = comparison.device.support_of(leg.precision)
    emulated = f" {support.remedy}" if support and support.kernels == "emulated" else ""
    return Failure.of(
        FailureCode.TIME_BUDGET,
        f"{leg.name}: its share of the time budget of {budget_seconds:g} s ended after {steps_done} of "
        f"{settings.steps} steps, {lost}{step_time}.{emulated} Raise measurement.time_budget_seconds, or use a smaller "
        "model or batch.",
    )


def time_limit(left_seconds: float, others: Sequence[Expected], later: Sequence[Expected]) -> TimeLimit:
    """Returns the time limit of a trial, given the seconds left.

    `others` are the trials that follow in the block; `later`, those of the next block if one is required.
    """
    max_seconds = _share(left_seconds, others)
    slack_seconds = min(max_seconds / 2, max(LEAST_SLACK_SECONDS, SLACK * max_seconds))
    share_seconds = min(_share(left_seconds, [*others, *later]), max_seconds - slack_seconds)
    return TimeLimit(share_seconds=share_seconds, max_seconds=max_seconds)


def _share(left_seconds: float, others: Sequence[Expected]) -> float:
    """Subtracts the trials of known duration from the time left, and divides the rest among the others."""
    known_seconds = [seconds for seconds in others if seconds is not None]
    free_seconds = left_seconds - sum(known_seconds)
    if free_seconds <= 0:
        return left_seconds / (1 + len(others))
    return free_seconds / (1 + len(others) - len(known_seconds))
