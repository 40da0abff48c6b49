"""Turns beside whole trials in one run: the same request, on a quiet machine and beside a load that comes and goes.

Half-widths are compared at equal machine time: with so many times the time, an interval is narrower by the square root.
And a known bias, real extra work in one leg, is to be found within the interval.
"""

import contextlib
import math
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Iterator

import anyio

from benchmarks.job import run_job
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.report import Report
from halftime.contract.request.request import BenchmarkRequest
from worker.messages import TrialSpec

REPETITIONS = 3

#: A competitor works and pauses for so many seconds, at random.
BURST_SECONDS = (1.0, 4.0)
#: The load ends on its own after this time, whatever happens to the benchmark.
LONGEST_LOAD_SECONDS = 1800

#: Hidden layers of a model, and of one that does 3 % more work in every step.
LAYERS, LAYERS_OF_THE_SLOWER = 100, 103

MODEL = {"kind": "transformer", "vocab_size": 64, "hidden_size": 256, "num_layers": 2, "sequence_length": 64}
TRAINING = {"batch_size": 16, "steps": 85, "warmup_steps": 5}
BLOCKS = {"min_blocks": 6, "max_blocks": 6}


def request(pairing: str) -> BenchmarkRequest:
    """BF16 against FP32 on a small transformer."""
    return BenchmarkRequest.model_validate(
        {
            "model": MODEL,
            "config": {
                "device": "auto",
                "candidates": ["bf16"],
                "training": TRAINING,
                "measurement": BLOCKS | {"pairing": pairing},
            },
        }
    )


def measure() -> dict[str, object]:
    """Half-widths of both pairings, quiet and beside bursts of load; and a known bias with its interval."""
    return {
        "request": request("auto").model_dump(mode="json"),
        "quiet": _side_by_side(),
        "disturbed": _disturbed(),
        "known_bias": _known_bias(),
    }


def _disturbed() -> dict[str, object]:
    with bursts_of_load():
        return _side_by_side()


def _side_by_side() -> dict[str, object]:
    """Alternates both pairings, so that each sees the same machine."""
    rows: dict[str, list[dict[str, float]]] = {"auto": [], "trials": []}
    for repetition in range(REPETITIONS):
        for pairing in ("auto", "trials") if repetition % 2 == 0 else ("trials", "auto"):
            rows[pairing].append(_row(anyio.run(run_job, request(pairing))))
    ratios = [
        turns["half_width"] * math.sqrt(turns["seconds"]) / (trials["half_width"] * math.sqrt(trials["seconds"]))
        for turns, trials in zip(rows["auto"], rows["trials"], strict=True)
    ]
    return {
        "turns": rows["auto"],
        "trials": rows["trials"],
        "half_width_turns_over_trials_at_equal_time": ratios,
        "median": statistics.median(ratios),
    }


def _row(report: Report) -> dict[str, float]:
    (found,) = report.comparisons
    assert found.speedup is not None
    return {
        "speedup": found.speedup.value,
        "half_width": half_width(found.speedup),
        "seconds": report.total_seconds,
        "proof_seconds": report.proof_seconds,
        "disturbed_pairs": found.disturbed_pairs or 0,
        "disturbed_trials": report.baseline.disturbed_trials + found.candidate.disturbed_trials,
    }


def half_width(estimate: Estimate) -> float:
    """Half of the interval's width on the log scale: relative to the value."""
    return math.log(estimate.ci_high / estimate.ci_low) / 2


def _known_bias() -> dict[str, object]:
    """An A/A benchmark in which the candidate does real extra work: three layers more in a hundred."""
    asked = BenchmarkRequest.model_validate(
        {
            "model": {"kind": "mlp", "input_size": 256, "hidden_size": 256, "num_layers": LAYERS},
            "config": {
                "device": "auto",
                "candidates": ["fp32"],
                "training": TRAINING | {"batch_size": 64},
                "measurement": BLOCKS,
            },
        }
    )
    report = anyio.run(run_job, asked, lambda progress: None, _slower)
    (found,) = report.comparisons
    assert found.speedup is not None
    expected = (LAYERS + 1) / (LAYERS_OF_THE_SLOWER + 1)
    return {
        "expected": expected,
        "speedup": found.speedup.model_dump(),
        "recovered": found.speedup.ci_low <= expected <= found.speedup.ci_high,
        "pairing": report.pairing,
    }


def _slower(spec: TrialSpec) -> TrialSpec:
    """The spec with more layers, if it is the candidate's."""
    if spec.leg == "fp32":
        return spec
    return spec.model_copy(update={"model": spec.model.model_copy(update={"num_layers": LAYERS_OF_THE_SLOWER})})


@contextlib.contextmanager
def bursts_of_load() -> Iterator[None]:
    """A competitor on half of the cores that comes and goes every few seconds."""
    context = multiprocessing.get_context("spawn")
    until = time.time() + LONGEST_LOAD_SECONDS
    cores = max(1, (os.cpu_count() or 1) // 2)
    processes = [context.Process(target=_come_and_go, args=(until, seed), daemon=True) for seed in range(cores)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _come_and_go(until: float, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 # not for secrets
    while time.time() < until:
        works_until = time.time() + chance.uniform(*BURST_SECONDS)
        while time.time() < works_until:
            sum(range(10_000))
        time.sleep(chance.uniform(*BURST_SECONDS))
