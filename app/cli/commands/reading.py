"""The commands `list`, `show`, `report`, `trace`, `sweep`, `compare`, `events` and `logs`: read from the server."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import (
    REPORT_FORMATS,
    SWEEP_FORMATS,
    TRACE_FORMATS,
    AfterOption,
    BeforeOption,
    DeviceFilter,
    LabelFilter,
    ModelKindOption,
    StatusOption,
    filters_of,
    formats_of,
)
from app.cli.shared import SERVER, BenchmarkArgument, JsonOption, ServerOption, cli, connected, out, print_json
from app.cli.view.describing import described
from app.cli.view.listing import benchmarks_list
from app.reports.terminal import print_comparison, print_report, print_sweep
from app.reports.text.sanitize import sanitize
from halftime.contract.events import Event
from halftime.contract.resources.benchmark import Benchmark, Progress


@cli.command("list")
def list_benchmarks(
    status: StatusOption = None,
    label: LabelFilter = None,
    model_kind: ModelKindOption = None,
    device: DeviceFilter = None,
    created_after: AfterOption = None,
    created_before: BeforeOption = None,
    limit: int = 20,
    cursor: Annotated[str | None, typer.Option(help="cursor printed below the previous page")] = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Lists benchmarks, newest first."""
    filters = filters_of(status, label, model_kind, device, created_after, created_before)
    with connected(server) as client:
        page = client.list(limit=limit, cursor=cursor, **filters)
    if as_json:
        print_json(page)
        return
    out.print(benchmarks_list(page.items, datetime.now(UTC), out.width))
    if page.next_cursor:
        out.print(f"Next page: --cursor {page.next_cursor}", markup=False, soft_wrap=True)


@cli.command()
def show(benchmark: BenchmarkArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Shows the state of a benchmark."""
    with connected(server) as client:
        print_benchmark(client.get(benchmark), as_json)


@cli.command()
def report(
    benchmark: BenchmarkArgument,
    output: Annotated[list[Path] | None, typer.Option(help="a .html, .json, .md or .csv file; repeatable")] = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Prints a report, or writes it to files."""
    files = formats_of(output, REPORT_FORMATS)
    with connected(server) as client:
        texts = {path: client.report_text(benchmark, report_format) for path, report_format in files.items()}
        result = client.report(benchmark)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    if as_json:
        print_json(result)
    elif not output:
        print_report(out, result)


@cli.command()
def trace(
    benchmark: BenchmarkArgument,
    leg: Annotated[str, typer.Argument(help="a leg of the report, such as bf16")],
    output: Annotated[Path, typer.Option(help="a .json.gz file")],
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Writes the trace of a leg's profiled steps to a file, for ui.perfetto.dev."""
    formats_of([output], TRACE_FORMATS)
    with connected(server) as client:
        content = client.trace(benchmark, leg)
    output.write_bytes(content)
    typer.echo(json.dumps({"bytes": len(content), "output": str(output)}) if as_json else f"{leg} → {output}")


@cli.command()
def sweep(
    sweep_id: Annotated[str, typer.Argument(metavar="SWEEP", help="the sweep's ID")],
    output: Annotated[list[Path] | None, typer.Option(help="a .csv, .json or .md file; repeatable")] = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Prints the table of a sweep, or writes it to files."""
    files = formats_of(output, SWEEP_FORMATS)
    with connected(server) as client:
        texts = {path: client.sweep_text(sweep_id, sweep_format) for path, sweep_format in files.items()}
        result = client.sweep(sweep_id)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    if as_json:
        print_json(result)
    elif not output:
        print_sweep(out, result)


@cli.command()
def compare(
    baseline: BenchmarkArgument,
    contender: BenchmarkArgument,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Compares the reports of two benchmarks of the same work on different machines, drivers, versions or days."""
    with connected(server) as client:
        comparison = client.compare(baseline, contender)
    if as_json:
        print_json(comparison)
    else:
        print_comparison(out, comparison)


@cli.command()
def events(
    benchmark: BenchmarkArgument,
    after: Annotated[int, typer.Option(min=0, help="list only events after this number")] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="wait for new events until the benchmark ends")] = False,
    server: ServerOption = SERVER,
    as_json: Annotated[bool, typer.Option("--json", help="print one line of JSON per event")] = False,
) -> None:
    """Lists the events of a benchmark."""
    with connected(server) as client:
        for event in client.events(benchmark, after) if follow else client.past_events(benchmark, after):
            if not isinstance(event, Progress):
                typer.echo(event.model_dump_json(exclude_unset=True) if as_json else _event_line(event))


@cli.command()
def logs(benchmark: BenchmarkArgument, server: ServerOption = SERVER) -> None:
    """Prints the standard error of a benchmark's trials."""
    with connected(server) as client:
        text = client.logs(benchmark)
    # A terminal would interpret control sequences; a file gets the text unchanged.
    typer.echo(sanitize(text) if out.is_terminal else text, nl=False)


def _event_line(event: Event) -> str:
    data = ", ".join(f"{name}: {value}" for name, value in event.fields().items())
    return sanitize(f"{event.seq:>4}  {event.created_at:%Y-%m-%d %H:%M:%S}  {event.kind}  {data}".rstrip())


def print_benchmark(benchmark: Benchmark, as_json: bool) -> None:
    """Prints the state of a benchmark."""
    if as_json:
        print_json(benchmark)
        return
    out.print(described(benchmark, datetime.now(UTC)))
