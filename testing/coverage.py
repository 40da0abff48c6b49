"""How often intervals cover the true value, and how often a verdict is wrong, over thousands of simulated jobs.

Trials are simulated with a known true ratio and with what disturbs real ones: independent noise, a slow drift,
outliers, autocorrelated noise. They use the product's own order of blocks, stopping rule and estimates.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from worker.comparison.block_order import baseline_first
from worker.comparison.estimates import blocks_needed, judge_at_least, log_ratios, ratio_estimate

JOBS = 20_000
MIN_BLOCKS, MAX_BLOCKS, TARGET_CI = 6, 16, 0.02

#: Standard deviation of a trial's log median step time on a quiet machine.
NOISE = 0.02

#: Log step time of successive trials, relative to the leg's own.
Disturbance = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """Outcome of one simulated job."""

    covers: bool
    status: str
    blocks: int


def independent(chance: np.random.Generator, trials: int) -> np.ndarray:
    """Gaussian noise."""
    return chance.normal(0, NOISE, trials)


def drift(chance: np.random.Generator, trials: int) -> np.ndarray:
    """Gaussian noise on a machine that slows by 10 % over the longest job."""
    return independent(chance, trials) + math.log(1.1) * np.arange(trials) / trials


def outliers(chance: np.random.Generator, trials: int) -> np.ndarray:
    """Gaussian noise; one trial in twenty takes up to 30 % longer."""
    struck = chance.random(trials) < 0.05
    return independent(chance, trials) + struck * chance.uniform(0.05, 0.3, trials)


def autocorrelated(chance: np.random.Generator, trials: int) -> np.ndarray:
    """AR(1) noise with coefficient 0.3."""
    return _first_order(chance, trials, 0.3)


def strongly_autocorrelated(chance: np.random.Generator, trials: int) -> np.ndarray:
    """AR(1) noise with coefficient 0.5."""
    return _first_order(chance, trials, 0.5)


def _first_order(chance: np.random.Generator, trials: int, memory: float) -> np.ndarray:
    noise = independent(chance, trials)
    for index in range(1, trials):
        noise[index] = memory * noise[index - 1] + math.sqrt(1 - memory**2) * noise[index]
    return noise


SCENARIOS: dict[str, Disturbance] = {
    "independent": independent,
    "drift": drift,
    "outliers": outliers,
    "autocorrelated": autocorrelated,
    "strongly_autocorrelated": strongly_autocorrelated,
}


def simulate(disturb: Disturbance, true_ratio: float, threshold: float, jobs: int, seed: int) -> Iterator[Outcome]:
    """Simulate jobs of a baseline and one candidate that is `true_ratio` times as fast."""
    chance = np.random.default_rng(seed)
    for _ in range(jobs):
        noise = disturb(chance, 2 * MAX_BLOCKS).reshape(MAX_BLOCKS, 2)
        for block in range(MAX_BLOCKS):
            if not baseline_first(block):
                noise[block] = noise[block, ::-1]
        baseline, candidate = np.exp(noise[:, 0]), np.exp(noise[:, 1]) / true_ratio
        pilot = log_ratios(baseline[:MIN_BLOCKS].tolist(), candidate[:MIN_BLOCKS].tolist())
        needed = max(MIN_BLOCKS, blocks_needed(pilot, TARGET_CI))
        blocks = min(MAX_BLOCKS, needed + needed % 2)
        estimate = ratio_estimate(baseline[:blocks].tolist(), candidate[:blocks].tolist(), MIN_BLOCKS)
        covers = estimate.ci_low <= true_ratio <= estimate.ci_high
        yield Outcome(covers, judge_at_least(estimate, threshold), blocks)


def measure() -> dict[str, object]:
    """Table of the coverage at a true ratio of 1 (A/A) and of the verdicts at a true ratio equal to the threshold."""
    return {"jobs": JOBS, "scenarios": {name: _row(disturb) for name, disturb in SCENARIOS.items()}}


def _row(disturb: Disturbance) -> dict[str, float]:
    a_a = list(simulate(disturb, true_ratio=1.0, threshold=1.0, jobs=JOBS, seed=1))
    at_threshold = list(simulate(disturb, true_ratio=1.5, threshold=1.5, jobs=JOBS, seed=2))
    return {
        "coverage": _share(a_a, lambda outcome: outcome.covers),
        "false_pass_at_threshold": _share(at_threshold, lambda outcome: outcome.status == "pass"),
        "false_fail_at_threshold": _share(at_threshold, lambda outcome: outcome.status == "fail"),
        "mean_blocks": sum(outcome.blocks for outcome in a_a) / len(a_a),
    }


def _share(outcomes: list[Outcome], holds: Callable[[Outcome], bool]) -> float:
    return round(sum(map(holds, outcomes)) / len(outcomes), 4)
