"""Machines that slow the work that runs on them, in many ways, for simulations of jobs.

The slowdown is one time series: whatever runs at a moment is slowed by it, whichever leg it belongs to. Time is counted
in ticks, the duration of one slice of the baseline on an undisturbed machine.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

MIN_BLOCKS, MAX_BLOCKS = 6, 16

#: Slices of a leg in a block: as many as in a request with the default number of steps.
ROUNDS = 12

TRIAL_TICKS = ROUNDS
BLOCK_TICKS = 2 * TRIAL_TICKS

#: The longest job, a survey included, twice: a machine that is slow for long prolongs it.
TICKS = 2 * (MAX_BLOCKS + 1) * BLOCK_TICKS

#: Standard deviation of the log step time of a slice: that of a whole trial's median is then about 2 %.
SLICE_NOISE = 0.055

#: The same on a machine whose noise is the series.
LITTLE_SLICE_NOISE = 0.01

#: Standard deviation of the log step time of fresh processes of one leg: memory lies elsewhere in each.
PROCESS_NOISE = 0.007

Floats = npt.NDArray[np.float64]

#: Logarithm of the slowdown, in `TICKS` rows with a column for each job.
Slowdown = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True)
class Scenario:
    """A machine, and what else moves step times on it."""

    slowdown: Slowdown
    slice_noise: float = SLICE_NOISE
    #: Share of processes that are 5 to 30 % slower all their life.
    slow_processes: float = 0
    #: Whether the machine's counters show when it is slow, so that slices in turns are flagged as disturbed.
    is_seen: bool = False


def steady(_: np.random.Generator, jobs: int) -> Floats:
    """No slowdown."""
    return np.zeros((TICKS, jobs))


def drift(_: np.random.Generator, jobs: int) -> Floats:
    """The machine slows by 10 % over the longest job."""
    return np.repeat(math.log(1.1) * np.arange(TICKS)[:, None] / (MAX_BLOCKS * BLOCK_TICKS), jobs, axis=1)


def spells(chance: np.random.Generator, jobs: int) -> Floats:
    """In one trial's time of twenty, the machine is 5 to 30 % slower."""
    trials = (TICKS // TRIAL_TICKS, jobs)
    struck = chance.random(trials) < 0.05
    return np.repeat(struck * chance.uniform(0.05, 0.3, trials), TRIAL_TICKS, axis=0)


def first_order(chance: np.random.Generator, jobs: int, memory: float) -> Floats:
    """AR(1) with a standard deviation of 2.3 %, of which the share `memory` is left after the time of one trial."""
    per_tick = memory ** (1 / TRIAL_TICKS)
    series = chance.normal(0, 0.023, (TICKS, jobs))
    series[1:] *= math.sqrt(1 - per_tick**2)
    for tick in range(1, TICKS):
        series[tick] += per_tick * series[tick - 1]
    return series


def bursts(chance: np.random.Generator, jobs: int, mean_on_ticks: float, mean_off_ticks: float) -> Floats:
    """A competitor comes and goes at random; while it runs, steps take twice as long."""
    flips = chance.random((TICKS, jobs))
    is_on = np.empty((TICKS, jobs), dtype=bool)
    is_on[0] = flips[0] < mean_on_ticks / (mean_on_ticks + mean_off_ticks)
    for tick in range(1, TICKS):
        before = is_on[tick - 1]
        is_on[tick] = before ^ (flips[tick] < np.where(before, 1 / mean_on_ticks, 1 / mean_off_ticks))
    return np.where(is_on, math.log(2), 0)


def step_change(chance: np.random.Generator, jobs: int) -> Floats:
    """The machine is 15 % slower from a random moment of the pilot on."""
    moment = chance.uniform(0, (MIN_BLOCKS + 1) * BLOCK_TICKS, jobs)
    return (np.arange(TICKS)[:, None] >= moment) * math.log(1.15)


#: On for two seconds and off for four, on average, if a slice takes a quarter of a second.
every_few_seconds = partial(bursts, mean_on_ticks=8, mean_off_ticks=16)

SCENARIOS = {
    "independent": Scenario(steady),
    "drift": Scenario(drift),
    "outliers": Scenario(spells),
    # Successive whole trials correlate by about 0.3 and 0.5.
    "autocorrelated": Scenario(partial(first_order, memory=0.2), LITTLE_SLICE_NOISE),
    "strongly_autocorrelated": Scenario(partial(first_order, memory=0.4), LITTLE_SLICE_NOISE),
    "bursts": Scenario(every_few_seconds),
    "bursts_seen": Scenario(every_few_seconds, is_seen=True),
    "step_change": Scenario(step_change),
    "slow_processes": Scenario(steady, slow_processes=0.05),
}
