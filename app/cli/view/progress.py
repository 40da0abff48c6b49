"""Shows the progress of a benchmark or a sweep from its event stream; Ctrl-C cancels what the command submitted."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.cli.shared import err, note, out
from app.cli.view.live_view import LiveView, block_line
from app.reports.live.benchmark import LiveBenchmark
from app.reports.text.sanitize import safe_text
from halftime.client import Client, ClientError, ProblemError
from halftime.contract.resources.benchmark import TERMINAL, Benchmark
from halftime.contract.resources.sweep import Sweep


class Display(Protocol):
    """Where the progress is shown."""

    def update(self, live: LiveBenchmark) -> None:
        """Shows the current state."""


class Lines:
    """Display for pipes and logs: one line per status change, block and new warning."""

    def __init__(self, warned: Sequence[str] = ()) -> None:
        self._status_text, self._blocks, self._warned = "", 0, set(warned)

    def update(self, live: LiveBenchmark) -> None:
        """Prints the changes since the last call."""
        state = live.state
        if state.status_text != self._status_text:
            err.print(safe_text(state.status_text), soft_wrap=True)
        if state.finished_blocks > self._blocks:
            err.print(block_line(live, _now()), soft_wrap=True)
        for warning in live.warnings:
            if warning not in self._warned:
                err.print(safe_text(f"warning: {warning}"), soft_wrap=True)
        self._status_text, self._blocks = state.status_text, state.finished_blocks
        self._warned = set(live.warnings)


class LiveDisplay:
    """Display for terminals: the live view, which disappears before the report is printed."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, live: LiveBenchmark) -> None:
        """Redraws the view."""
        self._live.transient = live.status == "succeeded" and out.is_terminal
        self._live.update(LiveView(live, _now))


class NoDisplay:
    """Display that shows nothing, for machine-readable output."""

    def update(self, live: LiveBenchmark) -> None:
        """Does nothing."""


def follow(client: Client, benchmark: Benchmark, *, silent: bool, warned: Sequence[str] = ()) -> Benchmark:
    """Shows a benchmark that the command submitted until it ends, and returns it. Ctrl-C cancels the benchmark.

    Warnings in `warned` have already been shown and are not repeated.
    """
    try:
        return attend(client, benchmark, silent=silent, warned=warned)
    except KeyboardInterrupt:
        note("Cancelling …")
        with _unless_ended():
            client.cancel(benchmark.id)
        return client.wait(benchmark.id)


def attend(client: Client, benchmark: Benchmark, *, silent: bool, warned: Sequence[str] = ()) -> Benchmark:
    """Shows a benchmark until it ends, and returns it."""
    with _display(silent, warned) as display:
        live = LiveBenchmark(benchmark)
        display.update(live)
        _listen(client, live, display)
        ended = client.wait(benchmark.id)
        live.update_resource(ended)
        display.update(live)
    return ended


def follow_sweep(client: Client, sweep: Sweep, *, silent: bool) -> Sweep:
    """Shows how many benchmarks of a sweep have ended until all have, and returns the sweep. Ctrl-C cancels them."""
    try:
        with _bar(silent) as bar:
            return _watch_sweep(client, sweep, bar)
    except KeyboardInterrupt:
        note("Cancelling …")
        for benchmark_id in dict.fromkeys(row.benchmark_id for row in sweep.rows):
            with _unless_ended():
                client.cancel(benchmark_id)
        *_, ended = client.watch_sweep(sweep.id)
        return ended


@contextlib.contextmanager
def _display(silent: bool, warned: Sequence[str]) -> Iterator[Display]:
    if silent:
        yield NoDisplay()
    elif err.is_interactive:
        with Live(console=err, refresh_per_second=4) as live:
            yield LiveDisplay(live)
    else:
        yield Lines(warned)


def _listen(client: Client, live: LiveBenchmark, display: Display) -> None:
    try:
        for message in client.events(live.benchmark.id, live.last_seq):
            live.receive(message)
            display.update(live)
    except ClientError as error:
        live.warn(f"The event stream was interrupted ({error}); polling the server instead.")
        display.update(live)
        _poll(client, live, display)


def _poll(client: Client, live: LiveBenchmark, display: Display) -> None:
    for benchmark in client.watch(live.benchmark.id):
        for event in client.past_events(benchmark.id, live.last_seq):
            live.receive(event)
        live.update_resource(benchmark)
        display.update(live)


def _bar(silent: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
        disable=silent,
    )


def _watch_sweep(client: Client, sweep: Sweep, bar: Progress) -> Sweep:
    task = bar.add_task("", total=len({row.benchmark_id for row in sweep.rows}))
    for current in client.watch_sweep(sweep.id):
        ended = sum(count for status, count in current.counts.items() if status in TERMINAL)
        states = ", ".join(f"{count} {status}" for status, count in sorted(current.counts.items()))
        bar.update(task, completed=ended, description=states)
        sweep = current
    return sweep


def _now() -> datetime:
    return datetime.now(UTC)


@contextlib.contextmanager
def _unless_ended() -> Iterator[None]:
    """Ignores the conflict (409) when a benchmark has ended before its cancellation."""
    try:
        yield
    except ProblemError as error:
        if error.status != 409:
            raise
