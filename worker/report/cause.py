"""Names what limits a speedup or holds it back, or causes a slowdown, in half a sentence from both legs' steps."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from halftime.contract.report.explanation import BoundBy, WaterfallStep, WorkKind
from halftime.contract.report.kinds import MULTIPLYING
from halftime.contract.report.report import Leg

#: Share of the candidate's step from which on it is said to wait for data or for the host.
MAIN_SHARE = 0.4
#: Share of the candidate's step by which a kind takes longer than in the baseline from which on it is what holds back.
LOSS_SHARE = 0.1
#: Most kinds that are named, and the share of the step that each needs.
NAMED, NAMED_SHARE = 2, 0.08

OTHER_WORK = "work other than matrix products and attention"
_IDLE_WORDS: dict[WorkKind, str] = {"data": "the wait for data", "host": "the host"}
_BOUND_WORDS: dict[BoundBy, str] = {"compute": "compute-bound", "memory": "memory-bound", "launches": "launch-bound"}


def cause_of(baseline: Leg, candidate: Leg, steps: Sequence[WaterfallStep]) -> str:
    """Returns the cause, to follow the speedup after a comma."""
    if losses := _losses(steps):
        return f"held back mostly by {_took_longer(max(losses, key=_more_seconds))}"
    return f"limited mostly by {_limit(baseline, candidate, steps)}".replace("%", " %")


def _losses(steps: Sequence[WaterfallStep]) -> Sequence[WaterfallStep]:
    """What holds the candidate back: of a slowdown anything may, of a speedup work that takes notably longer."""
    before, after = _of_kinds(steps, {step.kind for step in steps})
    if after > before:
        return steps
    if _idle(steps):
        return []
    return [step for step in steps if step.kind not in _IDLE_WORDS and _more_seconds(step) >= LOSS_SHARE * after]


def _seconds(step: WaterfallStep) -> tuple[float, float]:
    return step.baseline_seconds, step.candidate_seconds


def _more_seconds(step: WaterfallStep) -> float:
    return step.candidate_seconds - step.baseline_seconds


def _took_longer(step: WaterfallStep) -> str:
    before, after = (1000 * seconds for seconds in _seconds(step))
    return f"{_IDLE_WORDS.get(step.kind, _name(step.kind))}: {after:.3g} ms of its step instead of {before:.3g} ms"


def _idle(steps: Sequence[WaterfallStep]) -> str:
    """What the candidate waits for in much of its step; empty if it does not."""
    shares = shares_of(steps)
    for kind, words in _IDLE_WORDS.items():
        if shares.get(kind, 0.0) >= MAIN_SHARE:
            return f"{words}, {shares[kind]:.0%} of its step"
    return ""


def _limit(baseline: Leg, candidate: Leg, steps: Sequence[WaterfallStep]) -> str:
    """The largest part of the candidate's step, and how fast it became."""
    if idle := _idle(steps):
        return idle
    shares = shares_of(steps)
    products = {step.kind for step in steps} & MULTIPLYING
    others = {step.kind for step in steps} - MULTIPLYING
    share = sum(shares[kind] for kind in others)
    if share <= 1 / 2:
        first, *second = _largest(shares, products)
        parts = [f"{_name(first)} ({shares[first]:.0%} of its step, {_how_fast(steps, [first], baseline)})"]
        parts += [f"{_name(one)} ({shares[one]:.0%}, {_how_fast(steps, [one], baseline)})" for one in second]
        return " and ".join(parts)
    parts = [f"{_name(kind)} ({shares[kind]:.0%}" for kind in _largest(shares, others)]
    named = " and ".join([f"{parts[0]} of the step)", *(f"{part})" for part in parts[1:])])
    what = "what torch.compile made of its operations" if "fused" in others else OTHER_WORK
    before, after = (1000 * seconds for seconds in _of_kinds(steps, others))
    took = f"{after:.3g} ms of its step ({before:.3g} ms in {baseline.precision})"
    return f"{_main_bound(candidate, others)}{what}: {took}, which is {share:.0%} of it, most of that {named}"


def shares_of(steps: Sequence[WaterfallStep]) -> dict[WorkKind, float]:
    """Each kind's share of the candidate's step."""
    total = sum(step.candidate_seconds for step in steps)
    return {step.kind: step.candidate_seconds / total for step in steps}


def _how_fast(steps: Sequence[WaterfallStep], kinds: Collection[WorkKind], baseline: Leg) -> str:
    """How fast some kinds together are in the candidate, relative to the baseline."""
    before, after = _of_kinds(steps, kinds)
    if not before:
        return f"not part of {baseline.precision}"
    return f"{before / after:.2f}× as fast as in {baseline.precision}"


def _of_kinds(steps: Sequence[WaterfallStep], kinds: Collection[WorkKind]) -> tuple[float, float]:
    """Seconds of some kinds together, in the baseline and in the candidate."""
    before, after = zip(*(_seconds(one) for one in steps if one.kind in kinds), strict=True)
    return sum(before), sum(after)


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
    return f"{_BOUND_WORDS[main]} " if main and seconds[main] > total / 2 else ""


def _name(kind: WorkKind) -> str:
    return kind.replace("_", " ")
