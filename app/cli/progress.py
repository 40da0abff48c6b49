"""Progress in the terminal, from the stream of events; Ctrl-C cancels what is watched."""

import contextlib
from collections.abc import Iterator

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.cli.shared import err, note
from app.client import Client, ClientError, ProblemError
from app.contract import benchmark as contract
from app.contract.benchmark import TERMINAL, Benchmark, Event
from app.contract.sweep import Sweep

#: Events that change what is said of a benchmark, and what is said then.
SAID = {
    "started": "running",
    "cancelling": "cancelling",
    "handed_back": "queued again: its worker was stopped",
    "worker_lost": "queued again: its worker was lost",
    "device_sick": "queued again: its worker's device is sick",
}


def follow(client: Client, benchmark: Benchmark) -> Benchmark:
    """Shows progress until the benchmark is over, and gives it as it ended."""
    try:
        with _bar() as bar:
            _listen(client, _Line(bar, benchmark), benchmark.id)
        return client.wait(benchmark.id)
    except KeyboardInterrupt:
        note("Cancelling …")
        with _unless_ended():
            client.cancel(benchmark.id)
        return client.wait(benchmark.id)


def follow_sweep(client: Client, sweep: Sweep) -> Sweep:
    """Shows how many of a sweep's benchmarks have ended until all have, and gives it as it ended."""
    try:
        with _bar() as bar:
            return _watch_sweep(client, sweep, bar)
    except KeyboardInterrupt:
        note("Cancelling …")
        for benchmark_id in dict.fromkeys(row.benchmark_id for row in sweep.rows):
            with _unless_ended():
                client.cancel(benchmark_id)
        *_, ended = client.watch_sweep(sweep.id)
        return ended


class _Line:
    """What is said of one benchmark."""

    def __init__(self, bar: Progress, benchmark: Benchmark) -> None:
        self._bar, self._task, self._status = bar, bar.add_task("", total=1.0), ""
        self.see(benchmark)

    def see(self, benchmark: Benchmark) -> None:
        """What the resource says."""
        self._say(_queued(benchmark) if benchmark.status == "queued" else benchmark.status)
        if benchmark.progress and benchmark.status not in TERMINAL:
            self.hear(benchmark.progress)

    def hear(self, heard: Event | contract.Progress) -> None:
        """What the stream says."""
        if isinstance(heard, Event):
            self._say(SAID.get(heard.kind, self._status))
            return
        left = "" if heard.eta_seconds is None else f", {heard.eta_seconds:.0f} s left"
        where = f"block {heard.block}/{heard.max_blocks}, {heard.leg}, step {heard.step}/{heard.total_steps}{left}"
        self._bar.update(self._task, completed=heard.fraction, description=f"{self._status}: {where}")

    def _say(self, status: str) -> None:
        self._status = status
        self._bar.update(self._task, description=status)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=err,
    )


def _listen(client: Client, line: _Line, benchmark_id: str) -> None:
    try:
        for heard in client.events(benchmark_id):
            line.hear(heard)
    except ClientError as error:
        note(f"The stream of events broke ({error}); asking now and then instead.")
        for seen in client.watch(benchmark_id):
            line.see(seen)


def _watch_sweep(client: Client, sweep: Sweep, bar: Progress) -> Sweep:
    task = bar.add_task("", total=len({row.benchmark_id for row in sweep.rows}))
    for seen in client.watch_sweep(sweep.id):
        ended = sum(count for status, count in seen.counts.items() if status in TERMINAL)
        states = ", ".join(f"{count} {status}" for status, count in sorted(seen.counts.items()))
        bar.update(task, completed=ended, description=states)
        sweep = seen
    return sweep


def _queued(benchmark: Benchmark) -> str:
    if benchmark.queue.note:
        return f"queued: {benchmark.queue.note}"
    return f"queued, {benchmark.queue.position} in line"


@contextlib.contextmanager
def _unless_ended() -> Iterator[None]:
    """What has ended just now cannot be cancelled, and need not be."""
    try:
        yield
    except ProblemError as error:
        if error.status != 409:
            raise
