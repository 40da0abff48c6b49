"""The details of one benchmark: status, results, request, and the next command."""

from collections.abc import Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.view.listing import speedup, state, verdict
from app.reports.live.state import PHASES_WITHOUT_BLOCKS
from app.reports.text.relative_time import ago, duration
from app.reports.text.sanitize import safe_text
from app.reports.text.settings import adapters_lines, model_line, training_line
from app.reports.text.wording import MIB, NOTHING
from halftime.contract.report.estimate import Estimate
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, LegSummary, Summary

#: Most characters printed of a setting or a reason.
LONGEST = 4000


def described(benchmark: Benchmark, now: datetime) -> RenderableType:
    """Renders a benchmark: facts, legs, warnings, and the next command."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(benchmark, now):
        facts.add_row(name, value)
    parts: list[RenderableType] = [facts]
    if benchmark.summary and benchmark.summary.legs:
        parts += [Text(), _legs(benchmark.summary), Text()]
    parts += [safe_text(f"! {warning}", "yellow", LONGEST) for warning in benchmark.warnings]
    return Group(*parts, Text(_next(benchmark), "dim"))


def _facts(benchmark: Benchmark, now: datetime) -> Iterator[tuple[str, RenderableType]]:
    yield "Benchmark", Text(benchmark.id)
    yield "Status", state(benchmark.status)
    if benchmark.failure:
        yield "Failure", safe_text(f"{benchmark.failure.title} ({benchmark.failure.code})", "red")
        yield "", safe_text(benchmark.failure.detail, most=LONGEST)
    if benchmark.summary:
        yield "Verdict", verdict(benchmark.summary.verdict)
        yield from _results(benchmark.summary)
    if benchmark.status == "queued":
        yield "Queue", safe_text(_queue(benchmark), most=LONGEST)
    if benchmark.progress and benchmark.status not in TERMINAL:
        yield "Progress", Text(_progress(benchmark))
    config = benchmark.request.config
    yield "Model", safe_text(model_line(benchmark.request.model).removeprefix("Model: "), most=LONGEST)
    for line in adapters_lines(config.adapters, ()):
        yield "Adapters", safe_text(line.removeprefix("Adapters: "), most=LONGEST)
    yield "Training", safe_text(training_line(config.training).removeprefix("Training: "), most=LONGEST)
    candidates = config.candidates if config.device == "auto" else config.resolved_candidates(config.device)
    against = ", ".join(candidates) if candidates else "default candidates of the device"
    yield "Precisions", Text(f"{config.baseline} against {against}, on {config.device}")
    if benchmark.labels:
        yield (
            "Labels",
            safe_text(", ".join(f"{name}={value}" for name, value in benchmark.labels.items()), most=LONGEST),
        )
    if benchmark.worker:
        gpu = f" ({benchmark.worker.gpu})" if benchmark.worker.gpu else ""
        yield "Worker", safe_text(f"{benchmark.worker.id}{gpu}, attempt {benchmark.attempt}")
    yield "Times", Text(_times(benchmark, now))


def _results(summary: Summary) -> Iterator[tuple[str, RenderableType]]:
    if summary.speedup:
        yield "Speedup", speedup(summary)
    if summary.memory_reduction_percent:
        percent = summary.memory_reduction_percent.value
        yield "Memory", Text(f"{abs(percent):.1f} % {'less' if percent >= 0 else 'more'}")
    if summary.accuracy_difference:
        yield "Accuracy", Text(f"differs by {summary.accuracy_difference.value:.4f}")
    for name, difference in summary.metric_differences.items():
        yield name.capitalize().replace("_", " "), safe_text(f"differs by {difference.value:.4g}")


def _legs(summary: Summary) -> Table:
    table = Table("Leg", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("Samples/s", "Peak memory (MiB)", "Speedup"):
        table.add_column(heading, justify="right")
    table.add_column("Verdict")
    for leg in summary.legs:
        table.add_row(leg.precision, *_figures(leg), verdict(leg.verdict or ""))
    return table


def _figures(leg: LegSummary) -> list[str]:
    rate = NOTHING if leg.samples_per_second is None else f"{leg.samples_per_second:,.1f}"
    memory = NOTHING if leg.peak_memory_bytes is None else f"{leg.peak_memory_bytes / MIB:,.1f}"
    return [rate, memory, _times_faster(leg.speedup)]


def _times_faster(estimate: Estimate | None) -> str:
    return f"{estimate.value:.2f}× ({estimate.ci_low:.2f} to {estimate.ci_high:.2f})" if estimate else NOTHING


def _queue(benchmark: Benchmark) -> str:
    count = benchmark.queue.workers_online
    workers = f"{count} {'worker' if count == 1 else 'workers'} online that can run it"
    return benchmark.queue.note or f"position {benchmark.queue.position}, {workers}"


def _progress(benchmark: Benchmark) -> str:
    assert benchmark.progress is not None, "called only for a benchmark with progress"
    progress = benchmark.progress
    left = "" if progress.eta_seconds is None else f", about {duration(progress.eta_seconds)} left"
    place = "survey" if progress.is_survey else f"block {progress.block} of {progress.max_blocks}"
    legs = "legs take turns" if progress.in_turns else progress.leg
    doing = PHASES_WITHOUT_BLOCKS.get(progress.phase, f"{place}, {legs}")
    return f"{progress.fraction:.0%}: {doing[:1].lower()}{doing[1:]}{left}"


def _times(benchmark: Benchmark, now: datetime) -> str:
    times = [f"created {benchmark.created_at:%Y-%m-%d %H:%M} UTC ({ago(benchmark.created_at, now)})"]
    if benchmark.started_at and benchmark.finished_at:
        times += [f"ran {duration((benchmark.finished_at - benchmark.started_at).total_seconds())}"]
    elif benchmark.started_at:
        times += [f"started {ago(benchmark.started_at, now)}"]
    return ", ".join(times)


def _next(benchmark: Benchmark) -> str:
    if benchmark.status == "succeeded":
        return f"halftime report {benchmark.id}"
    if benchmark.status not in TERMINAL:
        return f"halftime watch {benchmark.id}"
    again = f", halftime rerun {benchmark.id}" if benchmark.failure and benchmark.failure.retryable else ""
    return f"halftime logs {benchmark.id}{again}"
