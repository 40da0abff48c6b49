"""Prints reports, comparisons and sweeps to a terminal."""

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from app.reports.sweep_table import table as sweep_table
from app.reports.text.explanation import (
    KIND_COLUMNS,
    KIND_LEGEND,
    advice_lines,
    explained,
    kind_tables,
    missing_lines,
    slowest_lines,
    split_of,
    why_line,
)
from app.reports.text.sanitize import safe_text
from app.reports.text.verdict_words import requirement_words, verdict_words
from app.reports.text.wording import (
    NOTHING,
    context_lines,
    headline,
    interval,
    leg_names,
    leg_rows,
    metric_text,
    other_answers,
    requirement_rows,
    titled_comparisons,
)
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.report import Report
from halftime.contract.report.report_comparison import ReportComparison
from halftime.contract.resources.sweep import Sweep

#: Most characters printed of a warning or a setting.
LONGEST = 4000

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "invalid": "red", "off": "dim"}

#: Colours of the states of benchmarks, then of workers.
STATES = {
    "queued": "blue",
    "running": "cyan",
    "cancelling": "yellow",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "dim",
    "idle": "green",
    "busy": "cyan",
    "draining": "yellow",
    "quarantined": "red",
    "offline": "dim",
}


def print_report(console: Console, report: Report) -> None:
    """Prints legs, requirements, explanation, reasons, warnings and conditions, and last the headline."""
    console.print(_legs(report))
    for title, comparison in titled_comparisons(report):
        console.print(_requirements(title, requirement_rows(comparison, report.data)))
    _print_explanation(console, report)
    for title, lines in (("Reason", report.reasons), ("Warning", report.warnings)):
        for line in lines:
            console.print(safe_text(f"{title}: {line}", most=LONGEST))
    for line in context_lines(report):
        console.print(safe_text(line, "dim", LONGEST))
    console.print()
    for answer in other_answers(report):
        console.print(safe_text(answer, most=LONGEST))
    console.print(safe_text(headline(report), f"bold {COLOURS[report.verdict]}", LONGEST))


def print_comparison(console: Console, comparison: ReportComparison) -> None:
    """Prints the legs and speedups of both reports with their ratios, differing environment facts, and warnings."""
    verdicts = f"{verdict_words(comparison.baseline_verdict)} → {verdict_words(comparison.contender_verdict)}"
    console.print(Text(f"Baseline {comparison.baseline_id}, contender {comparison.contender_id}: {verdicts}"))
    metrics = [metric.heading for metric in comparison.legs[0].metrics] if comparison.legs else []
    legs = _table("Leg", "Step time, baseline / contender", "Peak memory, contender / baseline", *metrics)
    for leg in comparison.legs:
        memory = _number(leg.peak_memory_ratio, 3)
        values = [[metric_text(one, value) for value in (one.baseline, one.contender)] for one in leg.metrics]
        changes = [" → ".join(both) for both in values]
        legs.add_row(leg.precision, _times(leg.step_time_ratio), memory, *changes)
    console.print(legs)
    speedups = _table("Speedup of", "Baseline", "Contender", "Contender / baseline")
    for change in comparison.speedups:
        speedups.add_row(change.candidate, _times(change.baseline), _times(change.contender), _times(change.ratio))
    console.print(speedups)
    for leg in comparison.legs:
        if leg.kinds:
            before, after = split_of(leg, "baseline"), split_of(leg, "contender")
            console.print(Text(f"Most of a step of {leg.precision}: {before} → {after}"))
    for fact in comparison.environment:
        console.print(safe_text(f"Environment: {fact.name} is {fact.baseline or 'none'} → {fact.contender or 'none'}"))
    for line in comparison.warnings:
        console.print(safe_text(f"Warning: {line}", most=LONGEST))


def print_sweep(console: Console, sweep: Sweep) -> None:
    """Prints the table of a sweep."""
    header, rows = sweep_table(sweep)
    table = _table(*header, title=f"Sweep {sweep.id}")
    for cells in rows:
        table.add_row(*map(safe_text, cells))
    console.print(table)


def _table(*header: str, title: str | None = None) -> Table:
    """Returns a table that wraps cells on a narrow terminal instead of truncating them."""
    return Table(*(Column(name, overflow="fold") for name in header), title=title)


def _times(estimate: Estimate | None) -> str:
    return f"{interval(estimate, 3)} ×" if estimate else NOTHING


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _legs(report: Report) -> Table:
    table = _table("", *leg_names(report), title="Legs")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in leg_rows(report):
        table.add_row(*row)
    return table


def _print_explanation(console: Console, report: Report) -> None:
    for name, rows in kind_tables(report):
        table = _table(*KIND_COLUMNS, title=f"Where the time of a step goes: {name}")
        for column in (*table.columns[1:3], *table.columns[4:]):
            column.justify = "right"
        for row in rows:
            table.add_row(*row)
        console.print(table)
    if kind_tables(report):
        for line in (KIND_LEGEND, *slowest_lines(report)):
            console.print(safe_text(line, most=LONGEST))
    for title, comparison in explained(report):
        console.print(Text(f"Why this speedup, and what to change: {title}", "bold"))
        numbered = (f"{number}. {line}" for number, line in enumerate(advice_lines(comparison), start=1))
        for line in (why_line(comparison), *numbered):
            console.print(safe_text(line, most=LONGEST))
    for line in missing_lines(report):
        console.print(safe_text(line, most=LONGEST))


def _requirements(title: str, rows: list[tuple[str, str, str, str]]) -> Table:
    table = _table("Requirement", "Measured (95 % interval)", "Threshold", "Verdict", title=title)
    for name, measured, threshold, status in rows:
        table.add_row(name, measured, threshold, Text(requirement_words(status), style=COLOURS.get(status, "")))
    return table
