"""The same job twice: on the machine as it is, and with a competing load that starts half way and stays.

The load keeps half of the cores busy. Either the speedup moves by less than its interval, or the report says that it
was disturbed. The result has both, and the ratio of two single trials, the candidate's while the load runs.
"""

import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess

import anyio

from benchmarks.job import run_job
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.report import Report
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Progress
from worker.comparison.comparison_run import median_step

#: The load ends on its own after this time, whatever happens to the benchmark.
LONGEST_LOAD_SECONDS = 900

REQUEST = BenchmarkRequest.model_validate(
    {
        "model": {"kind": "transformer", "vocab_size": 64, "hidden_size": 256, "num_layers": 2, "sequence_length": 64},
        "config": {
            "device": "auto",
            "candidates": ["bf16"],
            "training": {"batch_size": 16, "steps": 25, "warmup_steps": 5},
            "measurement": {"min_blocks": 8, "max_blocks": 8},
        },
    }
)


def measure() -> dict[str, object]:
    """Speedups of both runs, the reports' warnings about the machine, and the ratio of two single trials."""
    quiet = anyio.run(run_job, REQUEST)
    with _Load() as load:
        disturbed = anyio.run(run_job, REQUEST, load.start_half_way)
    before, after = _speedup(quiet), _speedup(disturbed)
    return {
        "request": REQUEST.model_dump(mode="json"),
        "quiet": _figures(quiet),
        "disturbed": _figures(disturbed),
        "moved_by_less_than_its_interval": after.ci_low <= before.value <= after.ci_high,
        "says_it_was_disturbed": any("disturbed" in warning for warning in disturbed.warnings),
        "one_trial_each_baseline_first_load_second": _naive(disturbed),
    }


class _Load:
    """Processes that keep half of the cores busy."""

    def __init__(self) -> None:
        self._processes: list[BaseProcess] = []

    def __enter__(self) -> "_Load":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def start_half_way(self, progress: Progress) -> None:
        """Start the load when the job's progress reaches one half."""
        if progress.fraction < 0.5 or self._processes:
            return
        context = multiprocessing.get_context("spawn")
        until = time.time() + LONGEST_LOAD_SECONDS
        cores = max(1, (os.cpu_count() or 1) // 2)
        self._processes = [context.Process(target=_compute, args=(until,), daemon=True) for _ in range(cores)]
        for process in self._processes:
            process.start()


def _compute(until: float) -> None:
    while time.time() < until:
        sum(range(10_000))


def _figures(report: Report) -> dict[str, object]:
    legs = [report.baseline, report.comparisons[0].candidate]
    return {
        "speedup": _speedup(report).model_dump(),
        "noise_floor": report.noise_floor.ratio.model_dump() if report.noise_floor else None,
        "repeated_trials": sum(leg.repeated_trials for leg in legs),
        "disturbed_trials": sum(leg.disturbed_trials for leg in legs),
        "warnings": report.warnings,
    }


def _speedup(report: Report) -> Estimate:
    (comparison,) = report.comparisons
    assert comparison.speedup is not None
    return comparison.speedup


def _naive(report: Report) -> float:
    """First trial of the baseline over last trial of the candidate."""
    first, last = report.baseline.trials[0], report.comparisons[0].candidate.trials[-1]
    return median_step(first) / median_step(last)
