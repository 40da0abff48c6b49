"""How often intervals cover the true value, and how often a verdict is wrong, over thousands of simulated jobs.

Two legs with a known true ratio run on a machine that is disturbed as real ones are (`testing.slow_machines`), once in
turns and once as whole trials. They use the product's own orders, estimates and stopping rule; what is computed here
for many jobs at once is held to the product's functions by a test.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from halftime.contract.report.pairs import fewest_undisturbed
from halftime.contract.report.slices import Pairing
from testing.slow_machines import (
    BLOCK_TICKS,
    MAX_BLOCKS,
    MIN_BLOCKS,
    PROCESS_NOISE,
    ROUNDS,
    SCENARIOS,
    Floats,
    Scenario,
)
from worker.comparison.block_order import baseline_first
from worker.comparison.estimates import t_quantile
from worker.comparison.turns import order_of_round

JOBS = 20_000
TARGET_CI = 0.02

#: Jobs simulated at once.
BATCH = 1_000

PAIRINGS: tuple[Pairing, ...] = ("turns", "trials")

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Jobs:
    """Simulated jobs: an entry of each array for each job."""

    true_ratio: float
    #: Interval of the speedup.
    ci_low: Floats
    ci_high: Floats
    #: Number of blocks by the stopping rule.
    blocks: Integers
    #: Half-width, on the log scale, after the machine time of the survey and the pilot.
    half_width: Floats

    def covers(self) -> Booleans:
        """Whether the interval holds the true ratio."""
        return (self.ci_low <= self.true_ratio) & (self.true_ratio <= self.ci_high)

    def passes(self) -> Booleans:
        """Whether the verdict on a threshold that is the true ratio is `pass`."""
        return self.ci_low >= self.true_ratio

    def fails(self) -> Booleans:
        """Whether it is `fail`."""
        return self.ci_high < self.true_ratio


def simulate(scenario: Scenario, true_ratio: float, jobs: int, seed: int) -> dict[Pairing, Jobs]:
    """Simulate jobs of a baseline and one candidate that is `true_ratio` times as fast, in turns and as whole trials.

    Both meet the same machine, the same processes and the same noise.
    """
    chance = np.random.default_rng(seed)
    batches = [log_ratios(scenario, true_ratio, min(BATCH, jobs - done), chance) for done in range(0, jobs, BATCH)]
    return {
        pairing: _jobs(pairing, true_ratio, np.concatenate([batch[pairing] for batch in batches]))
        for pairing in PAIRINGS
    }


def _jobs(pairing: Pairing, true_ratio: float, of_blocks: Floats) -> Jobs:
    blocks = planned_blocks(of_blocks)
    mean, half_width = intervals(of_blocks, blocks)
    # Whole trials have no survey: its time is that of a further block.
    equal_time = np.full(len(of_blocks), MIN_BLOCKS + (pairing == "trials"))
    return Jobs(
        true_ratio=true_ratio,
        ci_low=np.exp(mean - half_width),
        ci_high=np.exp(mean + half_width),
        blocks=blocks,
        half_width=intervals(of_blocks, equal_time)[1],
    )


def log_ratios(scenario: Scenario, true_ratio: float, jobs: int, chance: np.random.Generator) -> dict[Pairing, Floats]:
    """Log ratios of the longest jobs, by job and block."""
    machine, work = scenario.slowdown(chance, jobs), work_of_slices(scenario, true_ratio, jobs, chance)
    turns, slowdown = pass_through(machine, work, slices_in_turns(), BLOCK_TICKS)  # after the survey
    trials, _ = pass_through(machine, work, slices_of_trials(), 0)
    return {"turns": ratios_of_turns(turns, slowdown, scenario.is_seen), "trials": ratios_of_trials(trials)}


def work_of_slices(scenario: Scenario, true_ratio: float, jobs: int, chance: np.random.Generator) -> Floats:
    """Log duration of every slice on a machine without slowdown, in ticks: by leg, block, round and job."""
    work = chance.normal(0, scenario.slice_noise, (2, MAX_BLOCKS, ROUNDS, jobs))
    processes = (2, MAX_BLOCKS, 1, jobs)
    work += chance.normal(0, PROCESS_NOISE, processes)
    work += (chance.random(processes) < scenario.slow_processes) * chance.uniform(0.05, 0.3, processes)
    work[1] -= math.log(true_ratio)
    return work


def slices_in_turns() -> Iterator[tuple[int, int, int]]:
    """Slices of a job in turns, in the order in which they run: leg, block, round."""
    for block in range(MAX_BLOCKS):
        for one in range(ROUNDS):
            for leg in order_of_round(2, block, one):
                yield leg, block, one


def slices_of_trials() -> Iterator[tuple[int, int, int]]:
    """The same of a job of whole trials."""
    for block in range(MAX_BLOCKS):
        for leg in (0, 1) if baseline_first(block) else (1, 0):
            for one in range(ROUNDS):
                yield leg, block, one


def pass_through(
    machine: Floats, work: Floats, slices: Iterator[tuple[int, int, int]], begin_ticks: int
) -> tuple[Floats, Floats]:
    """Log step time of every slice on the machine, and its slowdown: that of the moment when the slice begins."""
    times, slowdown = np.empty_like(work), np.empty_like(work)
    now, columns = np.full(work.shape[-1], float(begin_ticks)), np.arange(work.shape[-1])
    for one in slices:
        slowdown[one] = machine[now.astype(np.int64), columns]
        times[one] = work[one] + slowdown[one]
        now += np.exp(times[one])
    return times, slowdown


def ratios_of_trials(times: Floats) -> Floats:
    """Log ratios of the medians of whole trials, by job and block."""
    medians = np.median(np.exp(times), axis=2)
    return np.log(medians[0] / medians[1]).T


def ratios_of_turns(times: Floats, slowdown: Floats, is_seen: bool) -> Floats:
    """Log ratios of blocks in turns, by job and block; a pair is disturbed if a slowdown of either slice is seen."""
    disturbed = (slowdown > 0).any(axis=0) & is_seen
    return _hodges_lehmann_of_counted(*(np.moveaxis(array, -1, 0) for array in (times[0] - times[1], disturbed)))


def _hodges_lehmann_of_counted(pairs: Floats, disturbed: Booleans) -> Floats:
    """Hodges-Lehmann estimate of the counted ones among the pairs along the last axis."""
    undisturbed = ~disturbed
    enough = undisturbed.sum(axis=-1, keepdims=True) >= fewest_undisturbed(pairs.shape[-1])
    counted = np.where(undisturbed | ~enough, pairs, np.nan)
    first, second = np.triu_indices(pairs.shape[-1])
    means = np.sort((counted[..., first] + counted[..., second]) / 2, axis=-1)  # NaN last
    count = np.isfinite(means).sum(axis=-1, keepdims=True)
    middle = [np.take_along_axis(means, index, axis=-1) for index in ((count - 1) // 2, count // 2)]
    return np.mean(middle, axis=0)[..., 0]


def planned_blocks(of_blocks: Floats) -> Integers:
    """Number of blocks of every job by the stopping rule, from its pilot."""
    spread = of_blocks[:, :MIN_BLOCKS].std(axis=1, ddof=1)
    needed = np.ceil((t_quantile(MIN_BLOCKS - 1) * spread / math.log1p(TARGET_CI)) ** 2).astype(np.int64)
    needed = np.maximum(MIN_BLOCKS, needed)
    return np.minimum(MAX_BLOCKS, needed + needed % 2)


def intervals(of_blocks: Floats, blocks: Integers) -> tuple[Floats, Floats]:
    """Mean log ratio of every job after so many blocks, and the half-width of its interval."""
    mean, half_width = np.empty(len(blocks)), np.empty(len(blocks))
    for count in np.unique(blocks):
        jobs = blocks == count
        values = of_blocks[jobs, :count]
        mean[jobs] = values.mean(axis=1)
        half_width[jobs] = np.maximum(*(_t_half_width(part, count) for part in (values[:, :MIN_BLOCKS], values)))
    return mean, half_width


def _t_half_width(sample: Floats, size: int) -> Floats:
    return t_quantile(sample.shape[1] - 1) * sample.std(axis=1, ddof=1) / math.sqrt(size)


def measure() -> dict[str, object]:
    """Table of the coverage at a true ratio of 1 (A/A) and of the verdicts at a true ratio equal to the threshold."""
    return {"jobs": JOBS, "scenarios": {name: _row(scenario) for name, scenario in SCENARIOS.items()}}


def _row(scenario: Scenario) -> dict[str, object]:
    a_a = simulate(scenario, true_ratio=1.0, jobs=JOBS, seed=1)
    at_threshold = simulate(scenario, true_ratio=1.5, jobs=JOBS, seed=2)
    half_widths = {pairing: float(jobs.half_width.mean()) for pairing, jobs in a_a.items()}
    return {
        **{pairing: _figures(a_a[pairing], at_threshold[pairing]) for pairing in PAIRINGS},
        "half_width_percent": {pairing: round(100 * width, 2) for pairing, width in half_widths.items()},
        "half_width_turns_over_trials": round(half_widths["turns"] / half_widths["trials"], 3),
    }


def _figures(a_a: Jobs, at_threshold: Jobs) -> dict[str, float]:
    return {
        "coverage": round(float(a_a.covers().mean()), 4),
        "false_pass_at_threshold": round(float(at_threshold.passes().mean()), 4),
        "false_fail_at_threshold": round(float(at_threshold.fails().mean()), 4),
        "mean_blocks": round(float(a_a.blocks.mean()), 4),
    }
