"""The report as a person reads it in a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.contract.report import Report
from app.reports.wording import context_lines, headline, leg_names, leg_rows, requirement_rows

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "invalid": "red", "off": "dim"}


def print_report(console: Console, report: Report) -> None:
    """The legs side by side, the verdict per requirement, reasons and warnings, and the answer in one sentence."""
    console.print(_legs(report))
    for comparison in report.comparisons:
        console.print(
            _requirements(
                f"{comparison.candidate.precision} against {report.baseline.precision}", requirement_rows(comparison)
            )
        )
    for title, lines in (("Why", report.reasons), ("Warnings", report.warnings)):
        for line in lines:
            console.print(Text(f"{title}: {line}"))
    for line in context_lines(report):
        console.print(Text(line, style="dim"))
    console.print()
    console.print(Text(headline(report), style=f"bold {COLOURS[report.verdict]}"))


def _legs(report: Report) -> Table:
    table = Table(title="Legs")
    table.add_column("")
    for name in leg_names(report):
        table.add_column(name, justify="right")
    for row in leg_rows(report):
        table.add_row(*row)
    return table


def _requirements(title: str, rows: list[tuple[str, str, str, str]]) -> Table:
    table = Table("Requirement", "Measured (95 % interval)", "Threshold", "Verdict", title=title)
    for name, measured, threshold, status in rows:
        table.add_row(name, measured, threshold, Text(status, style=COLOURS[status]))
    return table
