"""Names the cause of a speedup in half a sentence, from the split of both legs' steps."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from halftime.contract.report.explanation import BoundBy, WaterfallStep, WorkKind
from halftime.contract.report.report import Leg

#: Kinds that multiply matrices.
MULTIPLIES: frozenset[WorkKind] = frozenset({"matrix_products", "attention"})

#: Share of the candidate's step from which on it is said to wait for data or for the host.
MAIN_SHARE = 0.4
#: Most kinds that are named, and the share of the step that each needs.
NAMED, NAMED_SHARE = 2, 0.08

_IDLE_WORDS: dict[WorkKind, str] = {"data": "a wait for data", "host": "time of the host alone"}
_BOUND_WORDS: dict[BoundBy, str] = {"compute": "compute-bound", "memory": "memory-bound", "launches": "launch-bound"}


def cause_of(baseline: Leg, candidate: Leg, steps: Sequence[WaterfallStep]) -> str:
    """Returns the cause, to follow the speedup after a comma: the largest part of the candidate's step."""
    shares = shares_of(steps)
    for kind, words in _IDLE_WORDS.items():
        if shares.get(kind, 0.0) >= MAIN_SHARE:
            return f"mostly because {shares[kind]:.0%} of the step is {words}".replace("%", " %")
    products = {step.kind for step in steps} & MULTIPLIES
    others = {step.kind for step in steps} - MULTIPLIES
    share = sum(shares[kind] for kind in products)
    if share >= sum(shares[kind] for kind in others):
        text = f"mostly because matrix products, {share:.0%} of the step, {_run_how_fast(steps, products, baseline)}"
    else:
        named = ", ".join(f"{_name(kind)} {shares[kind]:.0%}" for kind in _largest(shares, others))
        bound = _main_bound(candidate, others)
        text = (
            f"mostly because {1 - share:.0%} of the step is {bound}work other than matrix products ({named}), whose "
            f"parts together {_run_how_fast(steps, others, baseline)}"
        )
    return text.replace("%", " %")


def shares_of(steps: Sequence[WaterfallStep]) -> dict[WorkKind, float]:
    """Each kind's share of the candidate's step."""
    total = sum(step.candidate_seconds for step in steps)
    return {step.kind: step.candidate_seconds / total for step in steps}


def _run_how_fast(steps: Sequence[WaterfallStep], kinds: Collection[WorkKind], baseline: Leg) -> str:
    """How fast some kinds together are in the candidate, relative to the baseline."""
    before = sum(step.baseline_seconds for step in steps if step.kind in kinds)
    after = sum(step.candidate_seconds for step in steps if step.kind in kinds)
    if not before or not after:
        return f"are not in the step of {baseline.precision}"
    return f"run {before / after:.2f}× as fast as in {baseline.precision}"


def _largest(shares: dict[WorkKind, float], kinds: Collection[WorkKind]) -> list[WorkKind]:
    named = sorted((kind for kind in kinds if shares[kind] >= NAMED_SHARE), key=lambda kind: -shares[kind])
    return named[:NAMED] or [max(kinds, key=lambda kind: shares[kind])]


def _main_bound(candidate: Leg, kinds: Collection[WorkKind]) -> str:
    """What bounds most of the time of some kinds, as an adjective with a space; empty if nothing does."""
    seconds: defaultdict[BoundBy, float] = defaultdict(float)
    for row in candidate.time_by_kind:
        if row.kind in kinds and row.bound_by is not None:
            seconds[row.bound_by] += row.seconds_per_step
    total = sum(row.seconds_per_step for row in candidate.time_by_kind if row.kind in kinds)
    main = max(seconds, key=lambda bound: seconds[bound], default=None)
    return f"mostly {_BOUND_WORDS[main]} " if main and seconds[main] > total / 2 else ""


def _name(kind: WorkKind) -> str:
    return kind.replace("_", " ")
