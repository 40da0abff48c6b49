"""Renders a report as Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from app.reports.text.explanation import (
    KIND_COLUMNS,
    KIND_LEGEND,
    advice_lines,
    explained,
    kind_tables,
    missing_lines,
    slowest_lines,
    why_line,
)
from app.reports.text.verdict_words import requirement_words, verdict_words
from app.reports.text.wording import (
    context_lines,
    headline,
    leg_names,
    leg_rows,
    memory_rows,
    other_answers,
    requirement_rows,
    titled_comparisons,
    trial_columns,
    trial_rows,
)
from halftime.contract.report.report import Report


def to_markdown(report: Report) -> str:
    """Renders headline, requirements, explanation, legs, memory, trials, warnings, conditions, attestation and
    environment.
    """
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield from [
        f"# {headline(report)}",
        "",
        f"Benchmark `{report.benchmark_id}`. Verdict: **{verdict_words(report.verdict)}**.",
        "",
    ]
    for answer in other_answers(report):
        yield from [answer, ""]
    yield from _section("Why", report.reasons)
    for title, comparison in titled_comparisons(report):
        yield from [f"## {title}", ""]
        yield from _table(
            ["Requirement", "Measured (95 % interval)", "Threshold", "Verdict"],
            [(*row, requirement_words(status)) for *row, status in requirement_rows(comparison, report.data)],
        )
    yield from _explanation(report)
    yield from ["## Legs", ""]
    yield from _table(["", *leg_names(report)], leg_rows(report))
    yield from ["## Peak memory by part (MiB)", ""]
    yield from _table(["", *leg_names(report)], memory_rows(report))
    yield from ["## Trials in the order of execution", ""]
    yield from _table(trial_columns(report), trial_rows(report))
    yield from _section("Warnings", report.warnings)
    yield from _section("Measurement conditions", context_lines(report))
    yield from ["## Attestation", ""]
    rows = [(c.leg, c.name, c.expected, c.observed, "yes" if c.ok else "**no**") for c in report.attestation.checks]
    yield from _table(["Leg", "Check", "Expected", "Observed", "Passed"], rows)
    if report.environment:
        yield from ["## Environment", ""]
        facts = [(name, str(value)) for name, value in report.environment.model_dump(exclude_none=True).items()]
        yield from _table(["", ""], facts)


def _explanation(report: Report) -> Iterator[str]:
    """Bound and advice of every comparison, the time of a step by kind of work, and what is missing."""
    for title, comparison in explained(report):
        yield from [f"## Why this speedup: {title}", ""]
        yield from [why_line(comparison), ""]
        numbered = enumerate(advice_lines(comparison), start=1)
        yield from [*(f"{number}. {_escape(line)}" for number, line in numbered), ""]
    for name, rows in kind_tables(report):
        yield from [f"## Where the time of a step goes: {name}", ""]
        yield from _table(KIND_COLUMNS, rows)
    if kind_tables(report):
        yield from [_escape(KIND_LEGEND), ""]
    if slowest := slowest_lines(report):
        yield from [*(f"- {_literal(line)}" for line in slowest), ""]
    yield from _section("Not explained", missing_lines(report))


def _section(title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield from [f"## {title}", "", *(f"- {_escape(item)}" for item in items), ""]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(header)
    yield _row(["---"] * len(header))
    yield from (_row([_escape(cell) for cell in row]) for row in rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _literal(text: str) -> str:
    """Escapes a text with names that begin with an underscore, which would be emphasis."""
    return _escape(text).replace("_", r"\_")
