"""A benchmark or a sweep as it goes on, from the stream of events; Ctrl-C cancels what is the caller's own."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.cli.shared import err, note, out
from app.cli.view.live_view import LiveView, block_line
from app.reports.live.benchmark import LiveBenchmark
from app.reports.sanitize import safe_text
from halftime.client import Client, ClientError, ProblemError
from halftime.contract.resources.benchmark import TERMINAL, Benchmark
from halftime.contract.resources.sweep import Sweep


class Display(Protocol):
    """Where a person watches."""

    def update(self, live: LiveBenchmark) -> None:
        """Shows what stands now."""


class Lines:
    """For a pipe or a log: a line for every change of status, every block, and every new warning."""

    def __init__(self, warned: Sequence[str] = ()) -> None:
        self._said, self._blocks, self._warned = "", 0, set(warned)

    def update(self, live: LiveBenchmark) -> None:
        """Prints what is new."""
        state = live.state
        if state.said != self._said:
            err.print(safe_text(state.said), soft_wrap=True)
        if state.finished_blocks > self._blocks:
            err.print(block_line(live, _now()), soft_wrap=True)
        for warning in live.warnings:
            if warning not in self._warned:
                err.print(safe_text(f"warning: {warning}"), soft_wrap=True)
        self._said, self._blocks, self._warned = state.said, state.finished_blocks, set(live.warnings)


class Picture:
    """For a terminal: the live view, which makes room for the report at the end."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def update(self, live: LiveBenchmark) -> None:
        """Draws anew."""
        self._live.transient = live.status == "succeeded" and out.is_terminal
        self._live.update(LiveView(live, _now))


class Silence:
    """For a program."""

    def update(self, live: LiveBenchmark) -> None:
        """Says nothing."""


def follow(client: Client, benchmark: Benchmark, *, silent: bool, warned: Sequence[str] = ()) -> Benchmark:
    """Shows a benchmark of the caller's own until it is over, and gives it as it ended; Ctrl-C cancels it.

    Lines do not repeat what was warned of before.
    """
    try:
        return attend(client, benchmark, silent=silent, warned=warned)
    except KeyboardInterrupt:
        note("Cancelling …")
        with _unless_ended():
            client.cancel(benchmark.id)
        return client.wait(benchmark.id)


def attend(client: Client, benchmark: Benchmark, *, silent: bool, warned: Sequence[str] = ()) -> Benchmark:
    """Shows a benchmark until it is over, and gives it as it ended."""
    with _display(silent, warned) as display:
        live = LiveBenchmark(benchmark)
        display.update(live)
        _listen(client, live, display)
        ended = client.wait(benchmark.id)
        live.see(ended)
        display.update(live)
    return ended


def follow_sweep(client: Client, sweep: Sweep, *, silent: bool) -> Sweep:
    """Shows how many of a sweep's benchmarks have ended until all have, and gives it as it ended."""
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
        yield Silence()
    elif err.is_interactive:
        with Live(console=err, refresh_per_second=4) as live:
            yield Picture(live)
    else:
        yield Lines(warned)


def _listen(client: Client, live: LiveBenchmark, display: Display) -> None:
    try:
        for heard in client.events(live.benchmark.id, live.last_seq):
            live.hear(heard)
            display.update(live)
    except ClientError as error:
        live.warn(f"The stream of events broke ({error}); asking now and then instead.")
        display.update(live)
        _ask_now_and_then(client, live, display)


def _ask_now_and_then(client: Client, live: LiveBenchmark, display: Display) -> None:
    for seen in client.watch(live.benchmark.id):
        for event in client.past_events(seen.id, live.last_seq):
            live.hear(event)
        live.see(seen)
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
    for seen in client.watch_sweep(sweep.id):
        ended = sum(count for status, count in seen.counts.items() if status in TERMINAL)
        states = ", ".join(f"{count} {status}" for status, count in sorted(seen.counts.items()))
        bar.update(task, completed=ended, description=states)
        sweep = seen
    return sweep


def _now() -> datetime:
    return datetime.now(UTC)


@contextlib.contextmanager
def _unless_ended() -> Iterator[None]:
    """What has ended just now cannot be cancelled, and need not be."""
    try:
        yield
    except ProblemError as error:
        if error.status != 409:
            raise
