"""Checks that the legs of a block took turns as they should: one at a time, each step once, in balanced order."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from halftime.contract.report.report import AttestationCheck
from halftime.contract.report.trial import TrialResult
from worker.comparison.comparison_run import ComparisonRun


def turns_checks(measured: ComparisonRun) -> Iterator[AttestationCheck]:
    """Yields no check if the legs did not take turns."""
    if measured.pairing != "turns":
        return
    blocks = _blocks(measured)
    yield _check("one_at_a_time", blocks, "yes", _overlap)
    yield _check("every_step_once", blocks, "yes", _gap)
    yield _check("balanced_order", blocks, "yes", _imbalance)


def _blocks(measured: ComparisonRun) -> dict[int, list[TrialResult]]:
    """The trials by block, the baseline's first."""
    blocks: dict[int, list[TrialResult]] = {}
    for leg in measured.legs:
        for block, trial in leg.by_block().items():
            blocks.setdefault(block, []).append(trial)
    return blocks


def _check(
    name: str, blocks: dict[int, list[TrialResult]], expected: str, fault: Callable[[Sequence[TrialResult]], str | None]
) -> AttestationCheck:
    faults = [f"{why} in block {block}" for block, trials in sorted(blocks.items()) if (why := fault(trials))]
    observed = "; ".join(faults) or expected
    return AttestationCheck(leg="all", name=name, expected=expected, observed=observed, ok=not faults)


def _overlap(trials: Sequence[TrialResult]) -> str | None:
    """Slices of two legs at the same time."""
    slices = sorted((one for trial in trials for one in trial.slices), key=lambda one: one.began_seconds)
    together = [after for before, after in itertools.pairwise(slices) if after.began_seconds < before.ended_seconds]
    return f"{len(together)} slices began before the one before had ended" if together else None


def _gap(trials: Sequence[TrialResult]) -> str | None:
    """A measured step that is in no slice, or in two."""
    for trial in trials:
        steps = [step for one in trial.slices for step in range(one.first_step, one.first_step + one.steps)]
        first = len(trial.loss_curve) - len(trial.step_seconds)
        if trial.step_seconds and steps != list(range(first, len(trial.loss_curve))):
            return f"{trial.precision} has {len(trial.step_seconds)} measured steps and {len(steps)} in slices"
    return None


def _imbalance(trials: Sequence[TrialResult]) -> str | None:
    """The baseline was first in more than half of the rounds, or in fewer; an odd round is allowed."""
    baseline, *others = trials
    for other in others:
        rounds = list(zip(baseline.slices, other.slices, strict=False))
        first = sum(one.began_seconds < two.began_seconds for one, two in rounds)
        if abs(2 * first - len(rounds)) > 1:
            return f"the baseline was before {other.precision} in {first} of {len(rounds)} rounds"
    return None
