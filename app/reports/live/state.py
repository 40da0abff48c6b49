"""State of a running benchmark, and the measurements of its current attempt."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from halftime.contract.event_data import TrialFailed, TrialFinished
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.metrics import CLASSIFICATION, MetricFacts
from halftime.contract.resources.benchmark import Benchmark, Progress, Status

#: What a worker does outside the blocks and the survey, by the phase of its progress.
PHASES_WITHOUT_BLOCKS = {
    "start": "Starting",
    "capacity": "Searching for the largest batch size",
    "verify": "Measuring what the advice is worth",
    "report": "Writing the report",
}


@dataclass
class Attempt:
    """Measurements of one attempt, without the capacity search. Blocks count from 0."""

    #: By leg, each alone on the device before the blocks; empty if the legs do not take turns in blocks.
    surveys: dict[str, TrialFinished | TrialFailed] = field(default_factory=dict)
    #: By block and leg, in the order of their first end.
    trials: dict[tuple[int, str], TrialFinished | TrialFailed] = field(default_factory=dict)
    #: After each block, by candidate: the speedup over all blocks so far; None before the second, and for a failed leg.
    speedups: dict[int, dict[str, Estimate | None]] = field(default_factory=dict)

    def first(self, blocks: int) -> "Attempt":
        """Returns a copy with the survey and the first blocks only."""
        return Attempt(
            self.surveys,
            {place: trial for place, trial in self.trials.items() if place[0] < blocks},
            {block: speedups for block, speedups in self.speedups.items() if block < blocks},
        )

    def without_turns(self) -> "Attempt":
        """Returns the attempt once the legs have turned out not to take turns: the survey is its first block."""
        return Attempt(trials={(0, leg): trial for leg, trial in self.surveys.items()})


@dataclass
class LiveState:
    """State of a benchmark according to its events and progress; `app.reports.live.reducer` updates it."""

    status: Status
    #: The status in words, with details.
    status_text: str
    #: None while the benchmark does not run.
    progress: Progress | None = None
    #: The last progress of each leg in the current block or survey: in turns, several legs are under way.
    of_legs: dict[str, Progress] = field(default_factory=dict)
    attempt: Attempt = field(default_factory=Attempt)
    #: The last attempt before the current one that had a trial; its blocks may be reused.
    earlier: Attempt = field(default_factory=Attempt)
    finished_blocks: int = 0
    planned_blocks: int | None = None
    #: When the current attempt started.
    started_at: datetime | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, benchmark: Benchmark) -> "LiveState":
        """Returns the state before any event."""
        return cls(benchmark.status, status_text(benchmark), benchmark.progress)

    def advance(self, progress: Progress | None) -> None:
        """Sets the progress; that of other legs stays while their block goes on."""
        last = self.progress
        if last is None or progress is None or _place(last) != _place(progress):
            self.of_legs = {}
        if progress is not None:
            self.of_legs[progress.leg] = progress
        self.progress = progress

    @property
    def in_turns(self) -> bool:
        """Whether the legs of the block under way take turns."""
        return self.progress is not None and self.progress.in_turns

    @property
    def running(self) -> list[tuple[int, str]]:
        """Block (from 0) and leg of each measured trial in progress; several if their legs take turns."""
        if self.progress is None or not _is_block(self.progress):
            return []
        block = max(self.progress.block - 1, 0)
        surveyed = [leg for leg in self.attempt.surveys if leg not in self.failures]
        legs = surveyed if self.in_turns and surveyed else [self.progress.leg]
        return [(block, leg) for leg in legs if (block, leg) not in self.attempt.trials]

    @property
    def surveyed(self) -> list[str]:
        """The legs whose survey has ended or is in progress, in the order of execution."""
        running = [self.progress.leg] if self.progress and self.progress.is_survey else []
        return list(dict.fromkeys([*self.attempt.surveys, *running]))

    @property
    def places(self) -> list[tuple[int, str]]:
        """Block (from 0) and leg of each trial that has started, in the order of execution."""
        return list(dict.fromkeys([*self.attempt.trials, *self.running]))

    @property
    def legs(self) -> list[str]:
        """The legs in the order of their first trial."""
        return list(dict.fromkeys([*self.surveyed, *(leg for _, leg in self.places)]))

    @property
    def blocks(self) -> list[int]:
        """The blocks that have started, from 0."""
        return sorted({block for block, _ in self.places})

    @property
    def failures(self) -> dict[str, str]:
        """The failure code of each leg whose latest trial failed."""
        last = self.attempt.surveys | {leg: trial for (_, leg), trial in self.attempt.trials.items()}
        return {leg: trial.code for leg, trial in last.items() if isinstance(trial, TrialFailed)}

    @property
    def speedups(self) -> dict[str, Estimate | None]:
        """The speedup of each candidate after the last finished block."""
        after_block = self.attempt.speedups
        return after_block[max(after_block)] if after_block else {}

    def finished(self) -> list[TrialFinished]:
        """Returns the trials with a result, in the order of their first end."""
        return [trial for trial in self.attempt.trials.values() if isinstance(trial, TrialFinished)]

    @property
    def metrics(self) -> Sequence[MetricFacts]:
        """What the trials measured on held-out data; the loss alone if their events do not say."""
        surveys = [trial for trial in self.attempt.surveys.values() if isinstance(trial, TrialFinished)]
        trials = [*surveys, *self.finished()]
        return (trials[-1].metrics if trials else []) or CLASSIFICATION[:1]

    @property
    def loss_unit(self) -> str:
        """The unit of the loss."""
        return next(metric.unit for metric in self.metrics if metric.name == "loss")

    def of_leg(self, leg: str) -> list[TrialFinished]:
        """Returns the trials of a leg with a result, in the order of blocks."""
        return sorted((trial for trial in self.finished() if trial.leg == leg), key=lambda trial: trial.block)

    def speedup(self, baseline: str, leg: str) -> Estimate | float | None:
        """Returns the estimate after the last finished block; without one, the ratio of the trials so far."""
        return self.speedups.get(leg) or self._ratio(baseline, leg)

    def _ratio(self, baseline: str, leg: str) -> float | None:
        """Returns the geometric mean of the ratios of median step times over the blocks that have both trials."""
        medians = {(trial.leg, trial.block): trial.median_step_seconds for trial in self.finished()}
        pairs = [(medians.get((baseline, block)), seconds) for (name, block), seconds in medians.items() if name == leg]
        ratios = [math.log(before / after) for before, after in pairs if before and after]
        return math.exp(statistics.mean(ratios)) if ratios and leg != baseline else None


def status_text(benchmark: Benchmark) -> str:
    """Returns the status of a benchmark, with its position in the queue."""
    if benchmark.status != "queued":
        return benchmark.status
    if benchmark.queue.note:
        return f"queued: {benchmark.queue.note}"
    return f"queued, position {benchmark.queue.position}"


def _place(progress: Progress) -> tuple[str, bool, int]:
    return progress.phase, progress.is_survey, progress.block


def _is_block(progress: Progress) -> bool:
    return progress.phase == "measure" and not progress.is_survey
