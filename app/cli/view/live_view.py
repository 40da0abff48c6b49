"""How a running benchmark looks in a terminal: its legs, the speedup as it narrows, and what is left."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from app.reports.interval_bar import Scale, meets, range_mark
from app.reports.live.standing import Standing
from app.reports.relative_time import duration
from app.reports.sanitize import safe_text
from app.reports.terminal import STATES
from app.reports.wording import NOTHING
from halftime.contract.report.report import Estimate

#: From so many columns on every figure has room, and from so many the mark of a range.
WIDE = 76
MIDDLE = 60

#: Warnings that are shown: the newest.
WARNINGS = 4

PHASES = {"start": "Starting", "capacity": "Looking for the largest batch", "report": "Writing the report"}

SETTLED = {True: "reached", False: "missed", None: "open"}


@dataclass(frozen=True)
class LiveView:
    """Draws what stands at the moment of drawing."""

    standing: Standing
    now: Callable[[], datetime]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """From top to bottom, what there is to say."""
        standing, width = self.standing, options.max_width - 2
        parts: list[RenderableType] = [_title(standing), Text(), _legs(standing, width), Text()]
        if any(_speedups(standing).values()):
            parts += [_ranges_title(standing), _ranges(standing, width), Text()]
        parts += [Text(where(standing, self.now()), "dim")]
        parts += [safe_text(f"! {line}", "yellow") for line in standing.warnings[-WARNINGS:]]
        yield Padding(Group(*parts), (0, 1))


def block_line(standing: Standing, now: datetime) -> Text:
    """What is known after a block, in a line."""
    told = [f"{leg} {_in_words(found)}" for leg, found in _speedups(standing).items() if found]
    steps = [f"{leg} {_median_ms(standing, leg)} ms" for leg in standing.legs()]
    done = f"block {standing.told.finished_blocks} of {_planned(standing)}"
    return safe_text(f"{done}: {'; '.join([*told, ', '.join(steps)])}; {_times(standing, now)}")


def where(standing: Standing, now: datetime) -> str:
    """The block or phase, how much is done, and the times."""
    progress = standing.progress
    if progress is None:
        return _times(standing, now)
    phase = PHASES.get(progress.phase, f"Block {progress.block} of {_planned(standing)}")
    return f"{phase} · {progress.fraction:.0%} · {_times(standing, now)}"


def _title(standing: Standing) -> Text:
    kind = standing.benchmark.request.model.kind
    said = safe_text(standing.told.said, f"bold {STATES.get(standing.status, '')}".strip())
    return Text.assemble((kind, "bold"), "  ", (standing.benchmark.id, "dim"), "  ", said)


def _legs(standing: Standing, width: int) -> Table:
    columns = [Column("Leg"), Column("Blocks", justify="right"), Column("Step (ms)", justify="right")]
    if width >= WIDE:
        columns += [Column("Samples/s", justify="right"), Column("Val. loss (nats)", justify="right")]
    table = Table(*columns, Column(""), box=None, padding=(0, 2, 0, 0), header_style="dim")
    for leg in standing.legs():
        blocks = f"{len(standing.told.of_leg(leg))}/{_planned(standing)}"
        figures = [_median_ms(standing, leg)]
        if width >= WIDE:
            figures += [_throughput(standing, leg), _loss(standing, leg)]
        table.add_row(safe_text(leg, "bold"), blocks, *figures, _step(standing, leg, width))
    return table


def _step(standing: Standing, leg: str, width: int) -> RenderableType:
    """A bar for the leg whose trial runs, a word for the others."""
    progress = standing.progress
    if leg in standing.told.failures:
        return safe_text(f"failed: {standing.told.failures[leg]}", "red")
    if progress is None or progress.leg != leg or progress.phase != "measure":
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


def _ranges_title(standing: Standing) -> Text:
    threshold = _threshold(standing)
    wanted = f" ({threshold:g}× needed)" if threshold is not None else ""
    return Text(f"Speedup over {standing.benchmark.request.config.baseline}{wanted}", "dim")


def _ranges(standing: Standing, width: int) -> Table:
    """The speedup of every candidate over the baseline, with a mark of its range where there is room."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    found, threshold = _speedups(standing), _threshold(standing)
    estimates = [measured for measured in found.values() if isinstance(measured, Estimate)]
    scale = Scale.over([estimate.value for estimate in estimates] + ([threshold] if threshold else []))
    cells = min(41, width - 42) if width >= MIDDLE else 0
    for leg, measured in found.items():
        if measured:
            table.add_row(*_range_row(leg, measured, threshold, scale, cells))
    if estimates and cells:
        table.add_row("", "", _axis(scale, cells))
    return table


def _range_row(
    leg: str, measured: Estimate | float, threshold: float | None, scale: Scale, cells: int
) -> list[RenderableType]:
    if not isinstance(measured, Estimate):
        row = [safe_text(leg, "bold"), Text(f"{measured:.2f}×"), Text("no interval yet", "dim")]
        return [*row]
    interval = Text(f"{measured.ci_low:.2f} to {measured.ci_high:.2f}")
    settled = Text(SETTLED[meets(measured, threshold)] if threshold is not None else "", "dim")
    mark = [range_mark(measured, threshold, scale, cells)] if cells else []
    return [safe_text(leg, "bold"), Text(f"{measured.value:.2f}×", "bold"), *mark, interval, settled]


def _axis(scale: Scale, cells: int) -> Text:
    """The ends of the scale, and one where the marks have it."""
    low, one, high = f"{scale.lowest:g}×", "1×", f"{scale.highest:g}×"
    left = f" {low}".ljust(scale.cell(1, cells) + 1) + one
    return Text(left + high.rjust(cells + 1 - len(left)), "dim")


def _speedups(standing: Standing) -> dict[str, Estimate | float | None]:
    baseline = standing.benchmark.request.config.baseline
    return {leg: standing.told.speedup(baseline, leg) for leg in standing.candidates()}


def _in_words(measured: Estimate | float) -> str:
    if not isinstance(measured, Estimate):
        return f"{measured:.2f}×"
    return f"{measured.value:.2f}× ({measured.ci_low:.2f} to {measured.ci_high:.2f})"


def _threshold(standing: Standing) -> float | None:
    return standing.benchmark.request.requirements.min_speedup


def _planned(standing: Standing) -> int:
    running = standing.progress.max_blocks if standing.progress else None
    least = standing.benchmark.request.config.measurement.min_blocks
    return running or standing.told.planned_blocks or max(least, standing.told.finished_blocks)


def _median_seconds(standing: Standing, leg: str) -> float | None:
    medians = [trial.median_step_seconds for trial in standing.told.of_leg(leg) if trial.median_step_seconds]
    return statistics.median(medians) if medians else None


def _median_ms(standing: Standing, leg: str) -> str:
    seconds = _median_seconds(standing, leg)
    return f"{1000 * seconds:,.2f}" if seconds else NOTHING


def _throughput(standing: Standing, leg: str) -> str:
    seconds = _median_seconds(standing, leg)
    return f"{standing.benchmark.request.config.training.batch_size / seconds:,.0f}" if seconds else NOTHING


def _loss(standing: Standing, leg: str) -> str:
    losses = [trial.validation_loss for trial in standing.told.of_leg(leg) if trial.validation_loss is not None]
    return f"{statistics.mean(losses):.4f}" if losses else NOTHING


def _times(standing: Standing, now: datetime) -> str:
    benchmark = standing.benchmark
    since = standing.told.started_at or benchmark.started_at or benchmark.created_at
    elapsed = f"{duration((now - since).total_seconds())} elapsed"
    left = standing.progress.eta_seconds if standing.progress else None
    return elapsed if left is None else f"{elapsed} · about {duration(left)} left"
