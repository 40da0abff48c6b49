"""How the time budget is divided among trials: none starts or goes on beyond it.

Two blocks are the least that gives an interval. So until the first has ended, every trial has a share such that the
others of both blocks can have theirs; afterwards the trials of a block share what is left. A trial that has run before
is expected to take as long again.
"""

from collections.abc import Sequence

from halftime.contract.report.failure import Failure, FailureCode
from worker.comparison.legs import ComparisonRun, LegRun, median_step
from worker.messages import TimeLimit

#: Between a trial's share and its end, for what it cannot foresee: this part of its time, or so many seconds.
SLACK, LEAST_SLACK_SECONDS = 0.05, 1.0

#: Seconds that a trial is expected to take; None where no trial of its leg has run.
Expected = float | None


def limit_of_next_trial(comparison: ComparisonRun, leg: LegRun, order: Sequence[LegRun]) -> TimeLimit:
    """What a trial of the leg may take; `order` is that of the legs in the block."""
    alive = [one for one in order if one.failure is None]
    later = alive if comparison.blocks == 0 else []
    return time_limit(
        comparison.seconds_left,
        [_expected_seconds(comparison, other) for other in alive[alive.index(leg) + 1 :]],
        [_expected_seconds(comparison, other) for other in later],
    )


def _expected_seconds(comparison: ComparisonRun, leg: LegRun) -> float | None:
    """What the leg's next trial is expected to take: as long as its last, or less if it is to train for fewer steps."""
    if not leg.trials:
        return None
    last = leg.trials[-1]
    steps = len(last.loss_curve)
    fewer = max(0, steps - (comparison.most_steps or steps))
    return last.trial_seconds - last.training_time_seconds * fewer / steps


def out_of_time(comparison: ComparisonRun, leg: LegRun, steps_done: int) -> Failure:
    """Why a leg has no figure, and what would give it one."""
    budget_seconds = comparison.request.config.measurement.time_budget_seconds
    settings = comparison.request.config.training
    known = (
        f"; a step of {comparison.baseline.name} takes {median_step(comparison.baseline.trials[0]):.3g} s"
        if comparison.baseline.trials
        else ""
    )
    lost = "whose figures were lost with it" if steps_done > settings.warmup_steps else "too few for a figure"
    support = comparison.device.support_of(leg.precision)
    emulated = f" {support.remedy}" if support and support.kernels == "emulated" else ""
    return Failure.of(
        FailureCode.TIME_BUDGET,
        f"{leg.name}: its share of the time budget of {budget_seconds:g} s ended when {steps_done} of {settings.steps} "
        f"steps were done, {lost}{known}.{emulated} Raise measurement.time_budget_seconds, or shrink model or batch.",
    )


def time_limit(left_seconds: float, others: Sequence[Expected], later: Sequence[Expected]) -> TimeLimit:
    """What a trial may take of what the budget has left.

    `others` are the trials that follow in the block; `later`, those of the block that has to follow, if one has.
    """
    most_seconds = _share(left_seconds, others)
    slack_seconds = min(most_seconds / 2, max(LEAST_SLACK_SECONDS, SLACK * most_seconds))
    share_seconds = min(_share(left_seconds, [*others, *later]), most_seconds - slack_seconds)
    return TimeLimit(share_seconds=share_seconds, most_seconds=most_seconds)


def _share(left_seconds: float, others: Sequence[Expected]) -> float:
    """What the trials of known length leave free, divided by this one and those of unknown length."""
    known = [seconds for seconds in others if seconds is not None]
    free_seconds = left_seconds - sum(known)
    if free_seconds <= 0:
        return left_seconds / (1 + len(others))
    return free_seconds / (1 + len(others) - len(known))
