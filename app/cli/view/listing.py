"""Benchmarks and workers as lists that a person reads: coloured states, figures with intervals, ages in words."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from app.reports.precisions import precision_remedies, precisions_line
from app.reports.relative_time import ago
from app.reports.sanitize import safe_text
from app.reports.terminal import COLOURS, STATES
from app.reports.wording import NOTHING
from app.reports.words import VERDICTS, verdict_words
from halftime.contract.resources.benchmark import BenchmarkItem, Summary
from halftime.contract.resources.worker import Worker

#: From so many columns on a benchmark, or a worker, has a line of its own in a table; with fewer, it has two.
BENCHMARK_COLUMNS, WORKER_COLUMNS = 120, 100


def benchmarks_list(items: Sequence[BenchmarkItem], now: datetime, width: int) -> RenderableType:
    """Newest first."""
    if not items:
        return Text("No benchmark matches.", "dim")
    if width < BENCHMARK_COLUMNS:
        return Group(*(_benchmark_in_two_lines(item, now) for item in items))
    table = Table(
        Column("Benchmark", no_wrap=True), Column("Status", no_wrap=True), Column("Model", overflow="fold"), "Device",
        Column("Speedup", no_wrap=True), Column("Verdict", min_width=max(map(len, VERDICTS.values())), overflow="fold"),
        Column("Created", no_wrap=True), box=None, header_style="dim", padding=(0, 2, 0, 0),
    )  # fmt: skip
    for item in items:
        kind, device = safe_text(item.model_name), safe_text(item.device)
        age = Text(ago(item.created_at, now), "dim")
        table.add_row(item.id, state(item.status), kind, device, speedup(item.summary), _outcome(item), age)
    return table


def workers_list(items: Sequence[Worker], now: datetime, width: int) -> RenderableType:
    """Every worker, with what it runs and can do; below, why those in quarantine are there, and what others lack."""
    if not items:
        return Text(
            "No worker was seen in the last days. Start one with `halftime worker`, or all with `halftime up`.", "dim"
        )
    parts: list[RenderableType] = [_workers_in_lines(items, now)]
    if width >= WORKER_COLUMNS:
        parts = [_workers_table(items, now), *_precisions_table(items)]
    for item in items:
        if item.quarantine is not None:
            since = ago(item.quarantine.since, now)
            parts += [safe_text(f"{item.id} is quarantined ({since}): {item.quarantine.reason}", "yellow", most=4000)]
    return Group(*parts, *_remedies(items))


def state(name: str) -> Text:
    """Of a benchmark or a worker, in its colour."""
    return safe_text(name, STATES.get(name, ""))


def verdict(name: str) -> Text:
    """In words and its colour."""
    return safe_text(verdict_words(name), COLOURS.get(name, ""))


def speedup(summary: Summary | None) -> Text:
    """Of the first candidate, with its interval; empty where there is none."""
    if summary is None or summary.speedup is None:
        return Text()
    found = summary.speedup
    return Text.assemble((f"{found.value:.2f}×", "bold"), f" ({found.ci_low:.2f}–{found.ci_high:.2f})")


def _outcome(item: BenchmarkItem) -> Text:
    if item.summary:
        return verdict(item.summary.verdict)
    return safe_text(item.failure.code, "red") if item.failure else Text()


def _benchmark_in_two_lines(item: BenchmarkItem, now: datetime) -> RenderableType:
    facts = [safe_text(item.model_name), safe_text(item.device), speedup(item.summary), _outcome(item)]
    facts += [Text(ago(item.created_at, now), "dim")]
    told = Text.assemble((" · ", "dim")).join(fact for fact in facts if fact.plain)
    return Group(Text.assemble(item.id, "  ", state(item.status)), Padding(told, (0, 0, 0, 2)))


def _workers_table(items: Sequence[Worker], now: datetime) -> RenderableType:
    table = Table(
        "Worker", "State", "Device", Column("Runs", no_wrap=True), "Last heartbeat", "Version",
        box=None, header_style="dim", padding=(0, 2, 0, 0),
    )  # fmt: skip
    for item in items:
        runs = item.current_benchmark or NOTHING
        table.add_row(
            safe_text(item.id),
            state(item.state),
            _device(item),
            runs,
            ago(item.last_heartbeat, now),
            safe_text(item.version),
        )
    return table


def _precisions_table(items: Sequence[Worker]) -> list[RenderableType]:
    """What each worker's device can do; nothing where none has measured it."""
    table = Table("Worker", "Precisions", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for item in items:
        if precisions := precisions_line(item.device):
            table.add_row(safe_text(item.id), safe_text(precisions))
    return [Text(), table] if table.row_count else []


def _remedies(items: Sequence[Worker]) -> list[RenderableType]:
    """Of the workers that are online, what is emulated or absent and what to do about it, with who has the same."""
    told: defaultdict[str, list[str]] = defaultdict(list)
    for item in items:
        for remedy in precision_remedies(item.device) if item.state != "offline" else []:
            told[remedy].append(item.id)
    lines = [safe_text(f"{', '.join(ids)}: {remedy}", "dim", most=4000) for remedy, ids in told.items()]
    return [Text(), *lines] if lines else []


def _workers_in_lines(items: Sequence[Worker], now: datetime) -> RenderableType:
    lines: list[RenderableType] = []
    for item in items:
        runs = f" · runs {item.current_benchmark}" if item.current_benchmark else ""
        told = Text.assemble(_device(item), runs, (f" · {ago(item.last_heartbeat, now)}", "dim"))
        lines += [Text.assemble(safe_text(item.id), "  ", state(item.state)), Padding(told, (0, 0, 0, 2))]
        if precisions := precisions_line(item.device):
            lines += [Padding(safe_text(precisions), (0, 0, 0, 2))]
    return Group(*lines)


def _device(item: Worker) -> Text:
    memory = f", {item.device.memory_bytes / 2**30:.0f} GiB" if item.device.memory_bytes else ""
    return safe_text(f"{item.device.gpu or item.device.name}{memory}")
