"""Renders the table of a sweep (speedup and memory by batch size) as CSV or Markdown."""

import csv
import io
import json
from collections.abc import Callable, Sequence

from app.reports.text.explanation import split_text
from app.reports.text.verdict_words import verdict_words
from app.reports.text.wording import MIB, NOTHING, interval
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.kinds import KindShare
from halftime.contract.resources.sweep import Sweep, SweepRow

HEADER = [
    "Model",
    "Parameters",
    "Batch size",
    "Candidate",
    "Speedup (95 % interval)",
    "Memory reduction",
    "Peak (MiB)",
    "Verdict",
    "Most of a step",
]

#: Fields of a row whose columns in CSV are others.
COMPOSED = {"speedup", "memory_reduction_percent", "failure", "baseline_largest_kinds", "candidate_largest_kinds"}


def to_csv(sweep: Sweep) -> str:
    """Renders one line per candidate of a benchmark, with unrounded figures; unmeasured cells are empty."""
    text = io.StringIO()
    columns = _columns()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: read(row) for name, read in columns.items()} for row in sweep.rows)
    return text.getvalue()


def to_markdown(sweep: Sweep) -> str:
    """Renders one line per candidate of a benchmark, with rounded figures."""
    states = ", ".join(f"{count} {status}" for status, count in sorted(sweep.counts.items()))
    header, rows = table(sweep)
    lines = [f"# Sweep {sweep.id}", "", f"{states}.", "", _line(header), _line(["---"] * len(header))]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def table(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows; the last column, where the time of a step goes, only if a leg was profiled."""
    rows = [_cells(row) for row in sweep.rows]
    columns = len(HEADER) if any(cells[-1] != NOTHING for cells in rows) else len(HEADER) - 1
    return HEADER[:columns], [cells[:columns] for cells in rows]


def _cells(row: SweepRow) -> list[str]:
    reduction = row.memory_reduction_percent
    return [
        row.model,
        NOTHING if row.parameter_count is None else f"{row.parameter_count:,}",
        str(row.batch_size),
        f"{row.candidate or NOTHING} against {row.baseline}",
        interval(row.speedup, 2) + " ×" if row.speedup else NOTHING,
        f"{reduction.value:.1f} %" if reduction else NOTHING,
        f"{_mib(row.candidate_peak_memory_bytes)} against {_mib(row.baseline_peak_memory_bytes)}",
        verdict_words(row.verdict or (row.failure.code if row.failure else row.status)),
        _splits(row),
    ]


def _splits(row: SweepRow) -> str:
    legs = [(row.baseline, row.baseline_largest_kinds), (row.candidate, row.candidate_largest_kinds)]
    return "; ".join(f"{name}: {split_text(shares)}" for name, shares in legs if shares) or NOTHING


def _columns() -> dict[str, Callable[[SweepRow], object]]:
    plain = [name for name in SweepRow.model_fields if name not in COMPOSED]
    columns: dict[str, Callable[[SweepRow], object]] = {name: _reader(name) for name in plain}
    columns |= {
        "speedup": lambda row: _part(row.speedup, "value"),
        "speedup_ci_low": lambda row: _part(row.speedup, "ci_low"),
        "speedup_ci_high": lambda row: _part(row.speedup, "ci_high"),
        "memory_reduction_percent": lambda row: _part(row.memory_reduction_percent, "value"),
        "baseline_largest_kinds": lambda row: _shares(row.baseline_largest_kinds),
        "candidate_largest_kinds": lambda row: _shares(row.candidate_largest_kinds),
        "failure": lambda row: row.failure.code if row.failure else None,
    }
    return columns


def _reader(name: str) -> Callable[[SweepRow], object]:
    return lambda row: getattr(row, name)


def _part(estimate: Estimate | None, name: str) -> object:
    return None if estimate is None else getattr(estimate, name)


def _shares(shares: Sequence[KindShare]) -> str | None:
    """Returns the shares by kind as JSON; None if the leg was not profiled."""
    return json.dumps({one.kind: one.share_of_step for one in shares}) if shares else None


def _mib(size_bytes: int | None) -> str:
    return NOTHING if size_bytes is None else f"{size_bytes / MIB:,.1f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
