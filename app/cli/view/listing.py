"""Lists of benchmarks and workers, with coloured states, intervals and relative times."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from app.reports.terminal import COLOURS, STATES
from app.reports.text.ceilings import ceilings_line
from app.reports.text.precisions import precision_remedies, precisions_line
from app.reports.text.relative_time import ago
from app.reports.text.sanitize import safe_text
from app.reports.text.verdict_words import VERDICTS, verdict_words
from app.reports.text.wording import NOTHING
from halftime.contract.resources.benchmark import BenchmarkItem, Summary
from halftime.contract.resources.worker import Worker, WorkerDevice

#: Minimum terminal widths for a table of benchmarks and of workers; narrower terminals get two lines per item.
BENCHMARK_COLUMNS, WORKER_COLUMNS = 120, 100


def benchmarks_list(items: Sequence[BenchmarkItem], now: datetime, width: int) -> RenderableType:
    """Renders benchmarks in the given order, for a terminal of `width` columns."""
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
    """Renders workers with their benchmarks, precisions and ceilings; below, reasons for quarantines, and remedies."""
    if not items:
        return Text(
            "No worker has been online recently. Start one with `halftime worker`, or all with `halftime up`.", "dim"
        )
    parts: list[RenderableType] = [_workers_in_lines(items, now)]
    if width >= WORKER_COLUMNS:
        parts = [_workers_table(items, now), *_lines_table("Precisions", precisions_line, items)]
        parts += _lines_table("Ceilings", ceilings_line, items)
    for item in items:
        if item.quarantine is not None:
            since = ago(item.quarantine.since, now)
            parts += [safe_text(f"{item.id} is quarantined ({since}): {item.quarantine.reason}", "yellow", most=4000)]
    return Group(*parts, *_remedies(items))


def state(name: str) -> Text:
    """Renders the state of a benchmark or a worker in its colour."""
    return safe_text(name, STATES.get(name, ""))


def verdict(name: str) -> Text:
    """Renders a verdict in its display words and colour."""
    return safe_text(verdict_words(name), COLOURS.get(name, ""))


def speedup(summary: Summary | None) -> Text:
    """Renders the speedup of the first candidate with its interval; empty without one."""
    if summary is None or summary.speedup is None:
        return Text()
    estimate = summary.speedup
    return Text.assemble((f"{estimate.value:.2f}×", "bold"), f" ({estimate.ci_low:.2f}–{estimate.ci_high:.2f})")


def _outcome(item: BenchmarkItem) -> Text:
    if item.summary:
        return verdict(item.summary.verdict)
    return safe_text(item.failure.code, "red") if item.failure else Text()


def _benchmark_in_two_lines(item: BenchmarkItem, now: datetime) -> RenderableType:
    facts = [safe_text(item.model_name), safe_text(item.device), speedup(item.summary), _outcome(item)]
    facts += [Text(ago(item.created_at, now), "dim")]
    details = Text.assemble((" · ", "dim")).join(fact for fact in facts if fact.plain)
    return Group(Text.assemble(item.id, "  ", state(item.status)), Padding(details, (0, 0, 0, 2)))


def _workers_table(items: Sequence[Worker], now: datetime) -> RenderableType:
    table = Table(
        "Worker", "State", "Device", Column("Running", no_wrap=True), "Last heartbeat", "Version",
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


def _lines_table(title: str, line_of: Callable[[WorkerDevice], str], items: Sequence[Worker]) -> list[RenderableType]:
    """Returns a table with a line about each worker's device; nothing if all lines are empty."""
    table = Table("Worker", title, box=None, header_style="dim", padding=(0, 2, 0, 0))
    for item in items:
        if line := line_of(item.device):
            table.add_row(safe_text(item.id), safe_text(line))
    return [Text(), table] if table.row_count else []


def _remedies(items: Sequence[Worker]) -> list[RenderableType]:
    """Returns the remedies for emulated and absent precisions of online workers, with the workers of each."""
    workers_by_remedy: defaultdict[str, list[str]] = defaultdict(list)
    for item in items:
        for remedy in precision_remedies(item.device) if item.state != "offline" else []:
            workers_by_remedy[remedy].append(item.id)
    lines = [safe_text(f"{', '.join(ids)}: {remedy}", "dim", most=4000) for remedy, ids in workers_by_remedy.items()]
    return [Text(), *lines] if lines else []


def _workers_in_lines(items: Sequence[Worker], now: datetime) -> RenderableType:
    lines: list[RenderableType] = []
    for item in items:
        runs = f" · running {item.current_benchmark}" if item.current_benchmark else ""
        details = Text.assemble(_device(item), runs, (f" · {ago(item.last_heartbeat, now)}", "dim"))
        lines += [Text.assemble(safe_text(item.id), "  ", state(item.state)), Padding(details, (0, 0, 0, 2))]
        for line in (precisions_line(item.device), ceilings_line(item.device)):
            lines += [Padding(safe_text(line), (0, 0, 0, 2))] if line else []
    return Group(*lines)


def _device(item: Worker) -> Text:
    memory = f", {item.device.memory_bytes / 2**30:.0f} GiB" if item.device.memory_bytes else ""
    return safe_text(f"{item.device.gpu or item.device.name}{memory}")
