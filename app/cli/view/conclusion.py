"""Writes and prints the report of a finished benchmark, or explains why there is none."""

from dataclasses import dataclass
from pathlib import Path

from app.cli.exit_codes import EXIT_CODES, NO_REPORT
from app.cli.shared import fail, out, print_json
from app.reports.terminal import print_report
from halftime.client import Client
from halftime.contract.resources.benchmark import Benchmark


@dataclass(frozen=True)
class Wanted:
    """The output that the user requested."""

    wait: bool
    files: dict[Path, str]
    as_json: bool


def conclude(client: Client, benchmark: Benchmark, wanted: Wanted) -> int:
    """Writes and prints the report of a finished benchmark. Returns the exit code of its verdict."""
    if benchmark.status != "succeeded":
        _explain(benchmark)
    for path, report_format in wanted.files.items():
        path.write_text(client.report_text(benchmark.id, report_format), encoding="utf-8")
    report = client.report(benchmark.id)
    if wanted.as_json:
        print_json(report)
    else:
        print_report(out, report)
    return EXIT_CODES[report.verdict]


def _explain(benchmark: Benchmark) -> None:
    """Prints why a benchmark has no report and ends the command."""
    if benchmark.failure:
        fail(f"{benchmark.failure.title} ({benchmark.failure.code}): {benchmark.failure.detail}", NO_REPORT)
    fail(f"The benchmark was {benchmark.status}.", NO_REPORT)
