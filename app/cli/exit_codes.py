"""The exit codes of `run` and `watch`: 2 is a usage error, 4 also means a benchmark without a report."""

import os
import signal

from halftime.contract.report.report import Verdict
from halftime.contract.resources.sweep import Sweep

NO_REPORT = 4

#: An error of the command itself. Python would exit with 1, which means a verdict.
UNEXPECTED_ERROR = os.EX_SOFTWARE

#: Nobody reads the output any more: the code that shells report for a command which SIGPIPE ended.
OUTPUT_CLOSED = 128 + signal.SIGPIPE

#: By the verdict of a benchmark's report.
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 3, "invalid": 4}

#: Order in which the exit code of a sweep is chosen: the first that any of its benchmarks has.
WORST_FIRST = (4, 1, 3, 0)


def sweep_exit_code(sweep: Sweep) -> int:
    """Returns the worst exit code among the benchmarks of a sweep."""
    codes = {EXIT_CODES[row.verdict] if row.verdict else NO_REPORT for row in sweep.rows}
    return next((code for code in WORST_FIRST if code in codes), NO_REPORT)
