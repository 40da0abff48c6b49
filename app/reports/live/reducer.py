"""Applies events and progress to a `LiveState`, for pages and the terminal alike."""

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

#: The status after each event that changes it, and its text.
STATUSES: dict[str, tuple[Status, str]] = {
    "started": ("running", "running"),
    "cancelling": ("cancelling", "cancelling"),
    "handed_back": ("queued", "requeued: its worker was stopped"),
    "worker_lost": ("queued", "requeued: its worker was lost"),
    "device_sick": ("queued", "requeued: its worker's device failed its health checks"),
    "succeeded": ("succeeded", "succeeded"),
    "failed": ("failed", "failed"),
    "cancelled": ("cancelled", "cancelled"),
}


def live_state(benchmark: Benchmark, events: Iterable[Event]) -> LiveState:
    """Returns the state of a benchmark after all its events."""
    state = LiveState.of(benchmark)
    for event in events:
        apply(state, event)
    state.advance(None if benchmark.status in TERMINAL else benchmark.progress)
    return state


def apply(state: LiveState, message: Event | Progress) -> None:
    """Updates the state with the next event or progress; unknown events are ignored."""
    if isinstance(message, Progress):
        state.advance(message)
        return
    match message:
        case StartedEvent():
            _start_attempt(state, message.created_at)
        case BlocksReusedEvent():
            _reuse_blocks(state, message.data.blocks)
        case TrialFinishedEvent() | TrialFailedEvent() if message.data.phase == "measure":
            _end_trial(state, message.data)
        case TrialFinishedEvent() | TrialFailedEvent() if message.data.phase == "survey":
            _end_survey(state, message.data)
        case BlockFinishedEvent():
            _end_block(state, message.data)
        case SucceededEvent():
            state.finished_blocks = max(state.finished_blocks, *(block + 1 for block, _ in state.attempt.trials), 0)
    if message.kind in STATUSES:
        _change_status(state, *STATUSES[message.kind])


def _change_status(state: LiveState, status: Status, text: str) -> None:
    state.status, state.status_text = status, text
    if status == "queued":
        state.warnings.append(f"{text[0].upper()}{text[1:]}.")
    if status != "running":
        state.advance(None)


def _start_attempt(state: LiveState, started_at: datetime) -> None:
    """Starts an attempt without measurements; a later event may add reused blocks."""
    if state.attempt.trials or state.attempt.surveys:
        state.earlier = state.attempt
    state.attempt, state.started_at = Attempt(), started_at
    state.finished_blocks, state.planned_blocks = 0, None


def _reuse_blocks(state: LiveState, blocks: int) -> None:
    state.attempt, state.finished_blocks = state.earlier.first(blocks), blocks


def _end_trial(state: LiveState, trial: TrialFinished | TrialFailed) -> None:
    # A trial of a block implies the end of all blocks before it, even if their events are missing.
    state.finished_blocks = max(state.finished_blocks, trial.block)
    if isinstance(trial, TrialFailed):
        state.warnings.append(_failure_text(trial))
        state.attempt.trials.setdefault((trial.block, trial.leg), trial)  # a failed repetition leaves the first result
    else:
        state.attempt.trials[trial.block, trial.leg] = trial


def _end_survey(state: LiveState, trial: TrialFinished | TrialFailed) -> None:
    if isinstance(trial, TrialFailed):
        state.warnings.append(_failure_text(trial))
        state.attempt.surveys.setdefault(trial.leg, trial)
    else:
        state.attempt.surveys[trial.leg] = trial


def _failure_text(trial: TrialFailed) -> str:
    place = "the survey" if trial.phase == "survey" else f"block {trial.block + 1}"
    if trial.code == FailureCode.TIME_BUDGET:
        return f"{trial.leg} in {place}: {trial.detail}"
    failed = f"{trial.leg} failed in {place} ({trial.code})"
    return f"{failed}: {trial.detail}" if trial.detail else failed


def _end_block(state: LiveState, end: BlockFinished) -> None:
    if end.pairing == "trials" and state.attempt.surveys:
        state.attempt = state.attempt.without_turns()
    state.attempt.speedups[end.block] = end.speedups
    state.planned_blocks, state.finished_blocks = end.planned_blocks, end.block + 1
