"""The explanation of a speedup in words and table rows, shared by all formats of a report."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

from app.reports.text.wording import NOTHING, interval, leg_names, legs_of, titled_comparisons
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import LEAST_ADVISED_GAIN, Advice, Bound, Explanation, TimeByKind
from halftime.contract.report.kinds import KIND_TITLES, LARGEST, MULTIPLYING, KindShare
from halftime.contract.report.report import Comparison, Leg, Report
from halftime.contract.report.report_comparison import LegChange

#: What the columns of a table of kinds mean.
KIND_LEGEND = (
    "Bound by: the limit of this device that accounts for at least a quarter of the time; – if none that is known "
    "does. % of ceiling: the least time that the device needs for this work, of the time that it took. Host: Python, "
    "dispatch and bookkeeping; on a GPU, its wait for them."
)

#: Share of a step from which on the operators of a kind are named.
MUCH = 0.1

KIND_COLUMNS = ("Kind of work", "ms", "% of step", "Bound by", "% of ceiling", "Calls")


def is_explained(report: Report) -> bool:
    """Whether the report says anything of an explanation; those of earlier releases do not."""
    return bool(kind_tables(report) or explained(report) or missing_lines(report))


def explained(report: Report) -> list[tuple[str, Comparison]]:
    """Returns every comparison with an explanation, with its title."""
    return [(title, comparison) for title, comparison in titled_comparisons(report) if comparison.explanation]


def kind_tables(report: Report) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Returns, for every leg that was profiled, its name and rows with the columns of `KIND_COLUMNS`.

    All tables have the kinds in the same order: by the longest time in any leg. The last row is the whole step.
    """
    order = _order(report)
    named = zip(leg_names(report), legs_of(report), strict=True)
    return [(name, _kind_rows(leg, order)) for name, leg in named if leg.time_by_kind]


def slowest_lines(report: Report) -> list[str]:
    """Names, for every leg that was profiled, the slowest operators of every kind that is much of its step."""
    named = zip(leg_names(report), legs_of(report), strict=True)
    found = [(name, "; ".join(_slowest(leg))) for name, leg in named]
    return [f"Slowest operations of {name}, in ms of a step: {kinds}." for name, kinds in found if kinds]


def why_line(comparison: Comparison) -> str:
    """States the cause of the speedup, how fast the candidate could be at most, and whether there is no advice.

    Empty if the speedup is not explained.
    """
    if comparison.explanation is None:
        return ""
    cause, bound = comparison.explanation.cause, _bound(comparison, comparison.explanation.bound)
    return " ".join(filter(None, [f"{cause[:1].upper()}{cause[1:]}.", bound, _no_advice(comparison.explanation)]))


def gain_line(advice: Advice) -> str:
    """States the expected gain of a piece of advice and, if it was tried, the measured one."""
    measured = f"; measured {_times(advice.measured_gain)}" if advice.measured_gain else ""
    return f"Expected throughput: {_times(advice.estimated_gain)} today's{measured}."


def advice_lines(comparison: Comparison) -> list[str]:
    """Returns every piece of advice in one line: what to do, the gain, why, and a remark."""
    advice = comparison.explanation.advice if comparison.explanation else []
    return [" ".join(filter(None, [one.text, gain_line(one), evidence_line(one), one.remark])) for one in advice]


def evidence_line(advice: Advice) -> str:
    """States what a piece of advice follows from, as a sentence."""
    return f"{advice.evidence[:1].upper()}{advice.evidence[1:]}"


def missing_lines(report: Report) -> list[str]:
    """Explains which parts of the explanation are missing, one sentence per reason."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for title, comparison in titled_comparisons(report):
        if comparison.explanation_missing:
            names[comparison.explanation_missing].append(title)
    of_comparisons = set(names)
    for name, leg in zip(leg_names(report), legs_of(report), strict=True):
        if leg.time_by_kind_missing and leg.time_by_kind_missing not in of_comparisons:
            names[leg.time_by_kind_missing].append(f"a step of {name}")
    lines = [f"No explanation of {', '.join(those)}: {reason.rstrip('.')}." for reason, those in names.items()]
    if report.ceilings is None and kind_tables(report):
        lines.append("No roofline: the device's ceilings were not measured.")
    return lines


def split_text(shares: Sequence[KindShare]) -> str:
    """Names the largest kinds of a step with their shares; a dash if it was not profiled."""
    largest = [f"{KIND_TITLES[one.kind]} {100 * one.share_of_step:.0f} %" for one in shares[:LARGEST]]
    return ", ".join(largest) or NOTHING


def split_of(leg: LegChange, side: Literal["baseline", "contender"]) -> str:
    """Names the largest kinds of a leg's step in one of two compared reports."""
    shares = [(one.kind, one.baseline_share if side == "baseline" else one.contender_share) for one in leg.kinds]
    known = [KindShare(kind=kind, share_of_step=share) for kind, share in shares if share is not None]
    return split_text(sorted(known, key=lambda one: -one.share_of_step))


def _bound(comparison: Comparison, bound: Bound) -> str:
    limits = [
        f"{_times(limit)} if {condition}"
        for limit, condition in (
            (bound.matmul_free, "matrix products and attention cost nothing"),
            (bound.all_at_ceiling, "all work ran at the device's ceilings"),
        )
        if limit
    ]
    measured = f"Measured: {_times(comparison.speedup)}." if comparison.speedup else ""
    return f"Upper limits of the speedup: {'; '.join(limits)}. {measured}".rstrip() if limits else ""


def _no_advice(explanation: Explanation) -> str:
    if explanation.advice:
        return ""
    least = f"{LEAST_ADVISED_GAIN - 1:.0%}".replace("%", " %")
    return f"What to change: of the changes that Halftime knows, the measurements speak for none that gains {least}."


def _order(report: Report) -> list[str]:
    longest: defaultdict[str, float] = defaultdict(float)
    for leg in legs_of(report):
        for time in leg.time_by_kind:
            longest[time.kind] = max(longest[time.kind], time.seconds_per_step)
    return sorted(longest, key=lambda kind: -longest[kind])


def _kind_rows(leg: Leg, order: Sequence[str]) -> list[tuple[str, ...]]:
    step_seconds = sum(time.seconds_per_step for time in leg.time_by_kind)
    sorted_times = sorted(leg.time_by_kind, key=lambda time: order.index(time.kind))
    return [
        *(_kind_row(time, step_seconds) for time in sorted_times),
        ("whole step", _milliseconds(step_seconds), "100", "", "", ""),
    ]


def _kind_row(time: TimeByKind, step_seconds: float) -> tuple[str, ...]:
    """Returns a row; what bounds work that multiplies is said only if its arithmetic is known, not its bytes alone."""
    is_known = time.kind not in MULTIPLYING or time.least_flops is not None
    return (
        KIND_TITLES[time.kind],
        _milliseconds(time.seconds_per_step),
        _percent(time.seconds_per_step / step_seconds if step_seconds else None),
        (is_known and time.bound_by) or NOTHING,
        _percent(time.share_of_ceiling if is_known else None),
        f"{time.calls:,.0f}",
    )


def _slowest(leg: Leg) -> Iterator[str]:
    """A kind and its slowest operators, by the longest time."""
    step_seconds = sum(time.seconds_per_step for time in leg.time_by_kind)
    for time in sorted(leg.time_by_kind, key=lambda time: -time.seconds_per_step):
        if time.slowest_operators and time.seconds_per_step >= MUCH * step_seconds:
            operators = [
                f"{one.name.removeprefix('aten::')} {_milliseconds(one.seconds_per_step)}"
                for one in time.slowest_operators
            ]
            yield f"{KIND_TITLES[time.kind]}: {', '.join(operators)}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.2f}"


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.0f}"


def _times(estimate: Estimate) -> str:
    return f"{interval(estimate, 2)} ×"
