"""Where a benchmark stands, put together from its events and its progress."""

import bisect
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import BaseModel, ValidationError

from halftime.contract.precisions import leg_names
from halftime.contract.report.failure import FailureCode
from halftime.contract.report.report import Estimate
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, Event, Progress, Status

#: What is said of an event that changes a benchmark's status, and the status then.
STATUSES: dict[str, tuple[Status, str]] = {
    "started": ("running", "running"),
    "cancelling": ("cancelling", "cancelling"),
    "handed_back": ("queued", "queued again: its worker was stopped"),
    "worker_lost": ("queued", "queued again: its worker was lost"),
    "device_sick": ("queued", "queued again: its worker's device is sick"),
    "succeeded": ("succeeded", "succeeded"),
    "failed": ("failed", "failed"),
    "cancelled": ("cancelled", "cancelled"),
}


class Trial(BaseModel):
    """What an event says of a trial; a worker of an older release says less."""

    leg: str
    block: int
    phase: str = "measure"
    median_step_seconds: float | None = None
    validation_loss: float | None = None


class TrialFailure(BaseModel):
    """What an event says of a trial that failed."""

    leg: str
    block: int
    phase: str = "measure"
    code: str
    detail: str = ""


class BlockEnd(BaseModel):
    """What an event says after a block."""

    block: int
    planned_blocks: int
    speedups: dict[str, Estimate | None]


@dataclass(frozen=True)
class LiveState:
    """All that the events told, in their order."""

    status: Status
    #: The status in words.
    said: str
    trials: Mapping[tuple[str, int], Trial] = field(default_factory=dict)
    #: Of the attempt before, which may be reused.
    earlier: Mapping[tuple[str, int], Trial] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    #: Of the last block that told them.
    speedups: Mapping[str, Estimate | None] = field(default_factory=dict)
    finished_blocks: int = 0
    planned_blocks: int | None = None
    #: Of the last attempt.
    started_at: datetime | None = None
    warnings: tuple[str, ...] = ()

    def after(self, event: Event) -> "LiveState":
        """The same with one more event; one that is not understood changes nothing."""
        try:
            return _AFTER.get(event.kind, _changed)(self, event)
        except ValidationError:
            return self

    def of_leg(self, leg: str) -> list[Trial]:
        """Its trials, in the order of blocks."""
        return [trial for (name, _), trial in sorted(self.trials.items()) if name == leg]

    def speedup(self, baseline: str, leg: str) -> Estimate | float | None:
        """With its interval where a block has told it, else the bare ratio of the trials so far."""
        return self.speedups.get(leg) or self._ratio(baseline, leg)

    def _ratio(self, baseline: str, leg: str) -> float | None:
        medians = {(trial.leg, trial.block): trial.median_step_seconds for trial in self.trials.values()}
        pairs = [(medians.get((baseline, block)), seconds) for (name, block), seconds in medians.items() if name == leg]
        ratios = [math.log(ours / theirs) for ours, theirs in pairs if ours and theirs]
        return math.exp(statistics.mean(ratios)) if ratios and leg != baseline else None


class Standing:
    """What is known of a benchmark while it is watched. Events may come late, twice, or out of order."""

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self.progress = benchmark.progress
        self._events: list[Event] = []
        self._warnings: list[str] = []
        self.told = self._nothing()

    @property
    def last_seq(self) -> int:
        """Of the newest event; 0 before the first."""
        return self._events[-1].seq if self._events else 0

    @property
    def status(self) -> Status:
        """As the resource says once that has ended, else as the events do."""
        return self.benchmark.status if self.benchmark.status in TERMINAL else self.told.status

    @property
    def warnings(self) -> list[str]:
        """Those of the benchmark, of its events, and of whoever watches."""
        return [*self.benchmark.warnings, *self.told.warnings, *self._warnings]

    def warn(self, warning: str) -> None:
        """Adds one of whoever watches."""
        self._warnings.append(warning)

    def see(self, benchmark: Benchmark) -> None:
        """What the resource says."""
        self.benchmark, self.progress = benchmark, benchmark.progress
        self.told = replace(self.told, status=benchmark.status, said=_said(benchmark))

    def hear(self, heard: Event | Progress) -> None:
        """What the stream says."""
        if isinstance(heard, Progress):
            self.progress = heard
        elif heard.seq > self.last_seq:
            self._events.append(heard)
            self.told = self.told.after(heard)
            self.progress = self.progress if self.told.status == "running" else None
        elif heard.seq not in {event.seq for event in self._events}:
            bisect.insort(self._events, heard, key=lambda event: event.seq)
            self.told = self._retold()

    def legs(self) -> list[str]:
        """The baseline, then every other leg that the request names or that was heard of."""
        config = self.benchmark.request.config
        candidates = config.candidates if config.device == "auto" else config.resolved_candidates(config.device)
        named = leg_names(config.baseline, candidates or [], config.measurement.control)
        heard = [*(leg for leg, _ in self.told.trials), *self.told.failures, *self.told.speedups]
        running = [self.progress.leg] if self.progress else []
        return list(dict.fromkeys([*named, *heard, *running]))

    def candidates(self) -> list[str]:
        """Of the legs, those that are compared with the baseline to answer something; a control's speedup is noise."""
        baseline = self.benchmark.request.config.baseline
        _, *others = leg_names(baseline, [], control=True)
        return [leg for leg in self.legs() if leg not in {baseline, *others}]

    def _nothing(self) -> LiveState:
        return LiveState(self.benchmark.status, _said(self.benchmark))

    def _retold(self) -> LiveState:
        told = self._nothing()
        for event in self._events:
            told = told.after(event)
        return told


def _said(benchmark: Benchmark) -> str:
    if benchmark.status != "queued":
        return benchmark.status
    if benchmark.queue.note:
        return f"queued: {benchmark.queue.note}"
    return f"queued, {benchmark.queue.position} in line"


def _changed(told: LiveState, event: Event) -> LiveState:
    """After an event that at most changes the status."""
    if event.kind not in STATUSES:
        return told
    status, said = STATUSES[event.kind]
    warnings = (*told.warnings, f"{said[0].upper()}{said[1:]}.") if said.startswith("queued again") else told.warnings
    return replace(told, status=status, said=said, warnings=warnings)


def _started(told: LiveState, event: Event) -> LiveState:
    """An attempt starts from nothing, unless it says that blocks are reused."""
    again = replace(
        told,
        trials={},
        earlier=told.trials,
        failures={},
        speedups={},
        finished_blocks=0,
        planned_blocks=None,
        started_at=event.created_at,
    )
    return _changed(again, event)


def _reused(told: LiveState, event: Event) -> LiveState:
    blocks = event.data.get("blocks")
    if not isinstance(blocks, int):
        return told
    reused = {(leg, block): trial for (leg, block), trial in told.earlier.items() if block < blocks}
    return replace(told, trials=reused, finished_blocks=blocks)


def _trial_finished(told: LiveState, event: Event) -> LiveState:
    trial = Trial.model_validate(event.data, extra="ignore")
    if trial.phase == "capacity":
        return told
    # The first trial of a block says that those before are over, where no event has said it.
    finished = max(told.finished_blocks, trial.block)
    trials = {**told.trials, (trial.leg, trial.block): trial}
    failures = {leg: code for leg, code in told.failures.items() if leg != trial.leg}  # it was tried again
    return replace(told, trials=trials, failures=failures, finished_blocks=finished)


def _trial_failed(told: LiveState, event: Event) -> LiveState:
    failure = TrialFailure.model_validate(event.data, extra="ignore")
    if failure.phase == "capacity":
        return told
    if failure.code == FailureCode.TIME_BUDGET:
        warning = f"{failure.leg} in block {failure.block + 1}: {failure.detail}"
    else:
        warning = f"{failure.leg} failed in block {failure.block + 1} ({failure.code}): {failure.detail}"
    return replace(
        told,
        failures={**told.failures, failure.leg: failure.code},
        warnings=(*told.warnings, warning.removesuffix(": ")),
        finished_blocks=max(told.finished_blocks, failure.block),
    )


def _block_finished(told: LiveState, event: Event) -> LiveState:
    end = BlockEnd.model_validate(event.data, extra="ignore")
    finished = end.block + 1
    return replace(told, speedups=end.speedups, planned_blocks=end.planned_blocks, finished_blocks=finished)


def _succeeded(told: LiveState, event: Event) -> LiveState:
    blocks = max((block + 1 for _, block in told.trials), default=0)
    return replace(_changed(told, event), finished_blocks=max(told.finished_blocks, blocks))


_AFTER: dict[str, Callable[[LiveState, Event], LiveState]] = {
    "started": _started,
    "blocks_reused": _reused,
    "trial_finished": _trial_finished,
    "trial_failed": _trial_failed,
    "block_finished": _block_finished,
    "succeeded": _succeeded,
}
