"""Where a benchmark stands, and what its present attempt has measured."""

import math
import statistics
from dataclasses import dataclass, field
from datetime import datetime

from halftime.contract.event_data import TrialFailed, TrialFinished
from halftime.contract.report.report import Estimate
from halftime.contract.resources.benchmark import Benchmark, Progress, Status


@dataclass
class Attempt:
    """What one attempt has measured, capacity aside. Blocks count from 0."""

    #: By block and leg, in the order in which they first ended.
    trials: dict[tuple[int, str], TrialFinished | TrialFailed] = field(default_factory=dict)
    #: After each block: by candidate, over all blocks so far; None before there are two, and for a leg that failed.
    speedups: dict[int, dict[str, Estimate | None]] = field(default_factory=dict)

    def first(self, blocks: int) -> "Attempt":
        """Its first blocks."""
        return Attempt(
            {place: trial for place, trial in self.trials.items() if place[0] < blocks},
            {block: speedups for block, speedups in self.speedups.items() if block < blocks},
        )


@dataclass
class LiveState:
    """A benchmark as its events and its progress tell it; `app.reports.live.reducer` makes and changes it."""

    status: Status
    #: The status in words.
    said: str
    #: None while the benchmark does not run.
    progress: Progress | None = None
    attempt: Attempt = field(default_factory=Attempt)
    #: The last attempt before it that had a trial: its blocks may be reused.
    earlier: Attempt = field(default_factory=Attempt)
    finished_blocks: int = 0
    planned_blocks: int | None = None
    #: When the present attempt started.
    started_at: datetime | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, benchmark: Benchmark) -> "LiveState":
        """The state before any event."""
        return cls(benchmark.status, status_in_words(benchmark), benchmark.progress)

    @property
    def running(self) -> tuple[int, str] | None:
        """Block (from 0) and leg of the measuring trial under way, unless it has ended before."""
        if self.progress is None or self.progress.phase != "measure":
            return None
        place = max(self.progress.block - 1, 0), self.progress.leg
        return None if place in self.attempt.trials else place

    @property
    def places(self) -> list[tuple[int, str]]:
        """Block (from 0) and leg of each trial that has begun, in the order in which they first ran."""
        return [*self.attempt.trials, *([self.running] if self.running else [])]

    @property
    def legs(self) -> list[str]:
        """The legs in the order in which they first ran."""
        return list(dict.fromkeys(leg for _, leg in self.places))

    @property
    def blocks(self) -> list[int]:
        """The blocks that have begun, from 0."""
        return sorted({block for block, _ in self.places})

    @property
    def failures(self) -> dict[str, str]:
        """The failure code of each leg whose last trial failed."""
        last = {leg: trial for (_, leg), trial in self.attempt.trials.items()}
        return {leg: trial.code for leg, trial in last.items() if isinstance(trial, TrialFailed)}

    @property
    def speedups(self) -> dict[str, Estimate | None]:
        """The speedup of each candidate after the last finished block."""
        after_block = self.attempt.speedups
        return after_block[max(after_block)] if after_block else {}

    def finished(self) -> list[TrialFinished]:
        """The trials with a result, in the order in which they first ended."""
        return [trial for trial in self.attempt.trials.values() if isinstance(trial, TrialFinished)]

    def of_leg(self, leg: str) -> list[TrialFinished]:
        """The trials of a leg with a result, in the order of blocks."""
        return sorted((trial for trial in self.finished() if trial.leg == leg), key=lambda trial: trial.block)

    def speedup(self, baseline: str, leg: str) -> Estimate | float | None:
        """The estimate after the last block that has one; else the bare ratio of the trials so far."""
        return self.speedups.get(leg) or self._ratio(baseline, leg)

    def _ratio(self, baseline: str, leg: str) -> float | None:
        """The geometric mean of the ratios of median step times over the blocks that have both trials."""
        medians = {(trial.leg, trial.block): trial.median_step_seconds for trial in self.finished()}
        pairs = [(medians.get((baseline, block)), seconds) for (name, block), seconds in medians.items() if name == leg]
        ratios = [math.log(ours / theirs) for ours, theirs in pairs if ours and theirs]
        return math.exp(statistics.mean(ratios)) if ratios and leg != baseline else None


def status_in_words(benchmark: Benchmark) -> str:
    """The status of a benchmark, with its place in the queue."""
    if benchmark.status != "queued":
        return benchmark.status
    if benchmark.queue.note:
        return f"queued: {benchmark.queue.note}"
    return f"queued, {benchmark.queue.position} in line"
