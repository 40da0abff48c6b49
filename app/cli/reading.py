"""`list`, `show`, `cancel`, `report`, `logs`, `workers`: what a server knows."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from app.cli.shared import SERVER, BenchmarkArgument, JsonOption, ServerOption, cli, connected, out, print_json
from app.contract.benchmark import Benchmark, Summary
from app.reports.terminal import print_report
from app.reports.wording import interval

OutputOption = Annotated[list[Path] | None, typer.Option("--output", help="a .json or .md file; repeatable")]


@cli.command("list")
def list_benchmarks(
    status: Annotated[list[str] | None, typer.Option(help="any of these")] = None,
    label: Annotated[list[str] | None, typer.Option(help="key:value, all of these")] = None,
    limit: int = 20,
    cursor: Annotated[str | None, typer.Option(help="of the page before")] = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Lists benchmarks, newest first."""
    params: dict[str, Any] = {"limit": limit, "status": status or [], "label": label or []}
    with connected(server) as client:
        page = client.list(**params | ({"cursor": cursor} if cursor else {}))
    if as_json:
        print_json(page)
        return
    table = Table(
        Column("Benchmark", no_wrap=True, min_width=36), "Status", "Model", "Device", "Speedup", "Verdict", "Created"
    )
    for item in page.items:
        verdict = item.summary.verdict if item.summary else item.failure.code if item.failure else ""
        created = f"{item.created_at:%Y-%m-%d %H:%M}"
        table.add_row(item.id, item.status, item.model_kind, item.device, _speedup(item.summary), verdict, created)
    out.print(table)
    if page.next_cursor:
        out.print(f"More with --cursor {page.next_cursor}")


@cli.command()
def show(benchmark: BenchmarkArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Shows where a benchmark stands."""
    with connected(server) as client:
        _print_benchmark(client.get(benchmark), as_json)


@cli.command()
def cancel(benchmark: BenchmarkArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Cancels a benchmark."""
    with connected(server) as client:
        _print_benchmark(client.cancel(benchmark), as_json)


@cli.command()
def report(
    benchmark: BenchmarkArgument,
    output: OutputOption = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Prints a report, or writes it to files."""
    with connected(server) as client:
        texts = {path: client.report_text(benchmark, report_format_of(path)) for path in output or []}
        found = client.report(benchmark)
    for path, text in texts.items():
        path.write_text(text)
    if as_json:
        print_json(found)
    elif not output:
        print_report(out, found)


@cli.command()
def logs(benchmark: BenchmarkArgument, server: ServerOption = SERVER) -> None:
    """Prints what a benchmark's trials wrote to standard error."""
    with connected(server) as client:
        typer.echo(client.logs(benchmark), nl=False)


@cli.command()
def workers(server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Lists the workers."""
    with connected(server) as client:
        page = client.workers()
    if as_json:
        print_json(page)
        return
    table = Table("Worker", "Device", "State", "Runs", "Last heartbeat")
    for item in page.items:
        device = item.device.gpu or item.device.name
        table.add_row(item.id, device, item.state, item.current_benchmark or "", f"{item.last_heartbeat:%H:%M:%S}")
    out.print(table)


def report_format_of(path: Path) -> str:
    """`json` or `md`, by the file's ending. Raises BadParameter for any other."""
    if path.suffix not in {".json", ".md"}:
        raise typer.BadParameter(f"{path} must end in .json or .md")
    return path.suffix.removeprefix(".")


def _print_benchmark(benchmark: Benchmark, as_json: bool) -> None:
    if as_json:
        print_json(benchmark)
        return
    table = Table(show_header=False)
    progress = f"{benchmark.progress.fraction:.0%}" if benchmark.progress else ""
    failure = f"{benchmark.failure.code}: {benchmark.failure.detail}" if benchmark.failure else ""
    for name, value in {
        "benchmark": benchmark.id,
        "status": benchmark.status,
        "progress": progress,
        "queue position": str(benchmark.queue.position),
        "workers online": str(benchmark.queue.workers_online),
        "attempt": str(benchmark.attempt),
        "worker": benchmark.worker.id if benchmark.worker else "",
        "speedup": _speedup(benchmark.summary),
        "verdict": benchmark.summary.verdict if benchmark.summary else "",
        "failure": failure,
    }.items():
        if value:
            table.add_row(name, value)
    out.print(table)


def _speedup(summary: Summary | None) -> str:
    return interval(summary.speedup, 2) if summary and summary.speedup else ""
