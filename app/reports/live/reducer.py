"""The one place where events and progress become a `LiveState`: pages and the terminal read the same."""

from collections.abc import Iterable
from datetime import datetime

from app.reports.live.state import Attempt, LiveState
from halftime.contract.event_data import BlockFinished, TrialFailed, TrialFinished
from halftime.contract.events import (
    BlockFinishedEvent,
    BlocksReusedEvent,
    Event,
    StartedEvent,
    SucceededEvent,
    TrialFailedEvent,
    TrialFinishedEvent,
)
from halftime.contract.report.failure import FailureCode
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, Progress, Status

#: The status after an event that changes it, and that status in words.
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


def live_state(benchmark: Benchmark, events: Iterable[Event]) -> LiveState:
    """The state of a benchmark after all its events."""
    state = LiveState.of(benchmark)
    for event in events:
        apply(state, event)
    state.progress = None if benchmark.status in TERMINAL else benchmark.progress
    return state


def apply(state: LiveState, heard: Event | Progress) -> None:
    """Brings the state up to date with the next event or progress; an event that is not understood changes nothing."""
    if isinstance(heard, Progress):
        state.progress = heard
        return
    match heard:
        case StartedEvent():
            _start_attempt(state, heard.created_at)
        case BlocksReusedEvent():
            _reuse_blocks(state, heard.data.blocks)
        case TrialFinishedEvent() | TrialFailedEvent() if heard.data.phase == "measure":
            _end_trial(state, heard.data)
        case BlockFinishedEvent():
            _end_block(state, heard.data)
        case SucceededEvent():
            state.finished_blocks = max(state.finished_blocks, *(block + 1 for block, _ in state.attempt.trials), 0)
    if heard.kind in STATUSES:
        _change_status(state, *STATUSES[heard.kind])


def _change_status(state: LiveState, status: Status, said: str) -> None:
    state.status, state.said = status, said
    if status == "queued":
        state.warnings.append(f"{said[0].upper()}{said[1:]}.")
    if status != "running":
        state.progress = None


def _start_attempt(state: LiveState, moment: datetime) -> None:
    """An attempt starts from nothing, unless an event says that blocks are reused."""
    if state.attempt.trials:
        state.earlier = state.attempt
    state.attempt, state.started_at = Attempt(), moment
    state.finished_blocks, state.planned_blocks = 0, None


def _reuse_blocks(state: LiveState, blocks: int) -> None:
    state.attempt, state.finished_blocks = state.earlier.first(blocks), blocks


def _end_trial(state: LiveState, trial: TrialFinished | TrialFailed) -> None:
    # A trial of the next block says that those before are over, where no event has said it.
    state.finished_blocks = max(state.finished_blocks, trial.block)
    state.attempt.trials[trial.block, trial.leg] = trial
    if isinstance(trial, TrialFailed):
        state.warnings.append(_failure_in_words(trial))


def _failure_in_words(trial: TrialFailed) -> str:
    if trial.code == FailureCode.TIME_BUDGET:
        return f"{trial.leg} in block {trial.block + 1}: {trial.detail}"
    failed = f"{trial.leg} failed in block {trial.block + 1} ({trial.code})"
    return f"{failed}: {trial.detail}" if trial.detail else failed


def _end_block(state: LiveState, end: BlockFinished) -> None:
    state.attempt.speedups[end.block] = end.speedups
    state.planned_blocks, state.finished_blocks = end.planned_blocks, end.block + 1
