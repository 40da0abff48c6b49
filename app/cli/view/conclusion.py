"""Writes and prints the report of a finished benchmark, or explains why there is none."""

from dataclasses import dataclass
from pathlib import Path

from app.cli.shared import fail, out, print_json
from app.reports.terminal import print_report
from halftime.client import Client
from halftime.contract.report.report import Verdict
from halftime.contract.resources.benchmark import Benchmark

#: Exit codes by verdict. 2 is a usage error; 4 also means a benchmark without a report.
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 3, "invalid": 4}


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
        fail(f"{benchmark.failure.title} ({benchmark.failure.code}): {benchmark.failure.detail}", 4)
    fail(f"The benchmark was {benchmark.status}.", 4)
