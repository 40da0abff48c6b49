"""The live view of a running benchmark in a terminal: legs, speedups and remaining time."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from app.reports.live.benchmark import LiveBenchmark
from app.reports.live.state import PHASES_WITHOUT_BLOCKS
from app.reports.terminal import STATES
from app.reports.text.interval_bar import Scale, interval_bar, meets
from app.reports.text.relative_time import duration
from app.reports.text.sanitize import safe_text
from app.reports.text.wording import NOTHING, metric_text
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.metrics import MetricFacts

#: Minimum widths in columns for all figures, and for the bars of intervals.
WIDE = 76
MIDDLE = 60
#: Width of a further metric.
METRIC = 18

#: Number of warnings that are shown, newest last.
WARNINGS = 4

#: The phase before blocks in which legs take turns.
SURVEY = "Training each leg once alone"

#: Words for an interval above, below and around the threshold.
THRESHOLD_WORDS = {True: "met", False: "not met", None: "undecided"}


@dataclass(frozen=True)
class LiveView:
    """Renders the state of a benchmark at the time of rendering."""

    live: LiveBenchmark
    now: Callable[[], datetime]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields title, legs, speedups, progress and warnings, from top to bottom."""
        live, width = self.live, options.max_width - 2
        parts: list[RenderableType] = [_title(live), Text(), _legs(live, width), Text()]
        if any(_speedups(live).values()):
            parts += [_speedups_title(live), _speedups_table(live, width), Text()]
        parts += [Text(progress_line(live, self.now()), "dim")]
        parts += [safe_text(f"! {line}", "yellow") for line in live.warnings[-WARNINGS:]]
        yield Padding(Group(*parts), (0, 1))


def block_line(live: LiveBenchmark, now: datetime) -> Text:
    """Summarizes the state after a block in one line."""
    speedups = [f"{leg} {_speedup_text(speedup)}" for leg, speedup in _speedups(live).items() if speedup]
    steps = [f"{leg} {_median_ms(live, leg)} ms" for leg in live.legs()]
    blocks = f"block {live.state.finished_blocks} of {_planned(live)}"
    return safe_text(f"{blocks}: {'; '.join([*speedups, ', '.join(steps)])}; {_times(live, now)}")


def progress_line(live: LiveBenchmark, now: datetime) -> str:
    """Returns the block or phase, whether its legs take turns, the share that is done, and the times."""
    progress = live.progress
    if progress is None:
        return _times(live, now)
    block = SURVEY if progress.is_survey else f"Block {progress.block} of {_planned(live)}"
    phase = PHASES_WITHOUT_BLOCKS.get(progress.phase, block)
    turns = " · legs take turns" if live.state.in_turns else ""
    return f"{phase}{turns} · {progress.fraction:.0%} · {_times(live, now)}"


def _title(live: LiveBenchmark) -> Text:
    kind = live.benchmark.request.model.kind
    status = safe_text(live.state.status_text, f"bold {STATES.get(live.status, '')}".strip())
    return Text.assemble((kind, "bold"), "  ", (live.benchmark.id, "dim"), "  ", status)


def _legs(live: LiveBenchmark, width: int) -> Table:
    columns = [Column("Leg"), Column("Blocks", justify="right"), Column("Step (ms)", justify="right")]
    if width >= WIDE:
        headings = ["Samples/s", *(_heading(metric) for metric in _metrics(live, width))]
        columns += [Column(safe_text(heading), justify="right") for heading in headings]
    table = Table(*columns, Column(""), box=None, padding=(0, 2, 0, 0), header_style="dim")
    for leg in live.legs():
        blocks = f"{len(live.state.of_leg(leg))}/{_planned(live)}"
        figures = [_median_ms(live, leg)]
        if width >= WIDE:
            figures += [_throughput(live, leg), *(_mean(live, leg, metric) for metric in _metrics(live, width))]
        table.add_row(safe_text(leg, "bold"), blocks, *figures, _step(live, leg, width))
    return table


def _step(live: LiveBenchmark, leg: str, width: int) -> RenderableType:
    """Renders a progress bar for a leg that is running, and the failure of a failed leg."""
    if leg in live.state.failures:
        return safe_text(f"failed: {live.state.failures[leg]}", "red")
    progress = live.state.of_legs.get(leg)
    is_current = live.progress is not None and live.progress.leg == leg
    if progress is None or progress.phase != "measure" or not (is_current or live.state.in_turns):
        return Text()
    bar = ProgressBar(
        total=progress.total_steps,
        completed=progress.step,
        width=14 if width >= MIDDLE else 5,
        complete_style="cyan",
        finished_style="cyan",
    )
    if width < MIDDLE:
        return bar
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_row(bar, Text(f"{progress.step}/{progress.total_steps}", "dim"))
    return row


def _speedups_title(live: LiveBenchmark) -> Text:
    threshold = _threshold(live)
    required = f" (required: {threshold:g}×)" if threshold is not None else ""
    return Text(f"Speedup over {live.benchmark.request.config.baseline}{required}", "dim")


def _speedups_table(live: LiveBenchmark, width: int) -> Table:
    """Renders the speedup of every candidate over the baseline, with an interval bar if the width allows."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    speedups, threshold = _speedups(live), _threshold(live)
    estimates = [measured for measured in speedups.values() if isinstance(measured, Estimate)]
    scale = Scale.over([estimate.value for estimate in estimates] + ([threshold] if threshold else []))
    cells = min(41, width - 42) if width >= MIDDLE else 0
    for leg, measured in speedups.items():
        if measured:
            table.add_row(*_speedup_row(leg, measured, threshold, scale, cells))
    if estimates and cells:
        table.add_row("", "", _axis(scale, cells))
    return table


def _speedup_row(
    leg: str, measured: Estimate | float, threshold: float | None, scale: Scale, cells: int
) -> list[RenderableType]:
    if not isinstance(measured, Estimate):
        row = [safe_text(leg, "bold"), Text(f"{measured:.2f}×"), Text("no interval yet", "dim")]
        return [*row]
    interval = Text(f"{measured.ci_low:.2f} to {measured.ci_high:.2f}")
    status = Text(THRESHOLD_WORDS[meets(measured, threshold)] if threshold is not None else "", "dim")
    bar = [interval_bar(measured, threshold, scale, cells)] if cells else []
    return [safe_text(leg, "bold"), Text(f"{measured.value:.2f}×", "bold"), *bar, interval, status]


def _axis(scale: Scale, cells: int) -> Text:
    """Renders the ends of the scale, and 1 at its position in the bars."""
    low, one, high = f"{scale.lowest:g}×", "1×", f"{scale.highest:g}×"
    left = f" {low}".ljust(scale.cell(1, cells) + 1) + one
    return Text(left + high.rjust(cells + 1 - len(left)), "dim")


def _speedups(live: LiveBenchmark) -> dict[str, Estimate | float | None]:
    baseline = live.benchmark.request.config.baseline
    return {leg: live.state.speedup(baseline, leg) for leg in live.candidates()}


def _speedup_text(measured: Estimate | float) -> str:
    if not isinstance(measured, Estimate):
        return f"{measured:.2f}×"
    return f"{measured.value:.2f}× ({measured.ci_low:.2f} to {measured.ci_high:.2f})"


def _threshold(live: LiveBenchmark) -> float | None:
    return live.benchmark.request.requirements.min_speedup


def _planned(live: LiveBenchmark) -> int:
    running = live.progress.max_blocks if live.progress else None
    least = live.benchmark.request.config.measurement.min_blocks
    return running or live.state.planned_blocks or max(least, live.state.finished_blocks)


def _median_seconds(live: LiveBenchmark, leg: str) -> float | None:
    medians = [trial.median_step_seconds for trial in live.state.of_leg(leg) if trial.median_step_seconds]
    return statistics.median(medians) if medians else None


def _median_ms(live: LiveBenchmark, leg: str) -> str:
    seconds = _median_seconds(live, leg)
    return f"{1000 * seconds:,.2f}" if seconds else NOTHING


def _throughput(live: LiveBenchmark, leg: str) -> str:
    seconds = _median_seconds(live, leg)
    return f"{live.benchmark.request.config.training.batch_size / seconds:,.0f}" if seconds else NOTHING


def _metrics(live: LiveBenchmark, width: int) -> Sequence[MetricFacts]:
    """The loss, and as many further metrics as the width allows."""
    return live.state.metrics[: 1 + (width - WIDE) // METRIC]


def _heading(metric: MetricFacts) -> str:
    title = f"Val. {metric.short_title}"
    return f"{title} ({metric.unit})" if metric.unit else title


def _mean(live: LiveBenchmark, leg: str, metric: MetricFacts) -> str:
    values = [trial.metric(metric.name) for trial in live.state.of_leg(leg)]
    finite = [value for value in values if value is not None]
    return metric_text(metric, statistics.mean(finite) if finite else None)


def _times(live: LiveBenchmark, now: datetime) -> str:
    benchmark = live.benchmark
    since = live.state.started_at or benchmark.started_at or benchmark.created_at
    elapsed = f"{duration((now - since).total_seconds())} elapsed"
    left = live.progress.eta_seconds if live.progress else None
    return elapsed if left is None else f"{elapsed} · about {duration(left)} left"
