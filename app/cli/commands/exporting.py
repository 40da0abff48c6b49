"""The command `export`: writes many benchmarks with their reports to files."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TextIO

import typer

from app.cli.options import (
    AfterOption,
    BeforeOption,
    DeviceFilter,
    LabelFilter,
    ModelKindOption,
    StatusOption,
    filters_of,
)
from app.cli.shared import SERVER, JsonOption, ServerOption, cli, connected, note
from app.reports.export import write_csv
from halftime.client import Client, ProblemError
from halftime.client.endpoints import BenchmarkFilters
from halftime.contract.report.report import Report
from halftime.contract.resources.benchmark import Benchmark


@dataclass(frozen=True)
class _Exported:
    """A benchmark and its report's JSON as the server wrote it; None without a report."""

    benchmark: Benchmark
    report_json: str | None

    def line(self) -> str:
        """Returns both as one JSON object in one line."""
        benchmark = self.benchmark.model_dump(mode="json")
        return json.dumps({"benchmark": benchmark, "report": json.loads(self.report_json or "null")})

    def parsed(self) -> tuple[Benchmark, Report | None]:
        """Returns both as models."""
        return self.benchmark, Report.model_validate_json(
            self.report_json, extra="ignore"
        ) if self.report_json else None


@cli.command()
def export(
    output: Annotated[Path, typer.Option(help="a folder, or a .csv or .jsonl file")],
    status: StatusOption = None,
    label: LabelFilter = None,
    model_kind: ModelKindOption = None,
    device: DeviceFilter = None,
    created_after: AfterOption = None,
    created_before: BeforeOption = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Writes all matching benchmarks with their reports.

    A .csv file has one line per candidate, a .jsonl file one complete line per benchmark, a folder one .json file per
    benchmark.
    """
    write = _writer_of(output)
    filters = filters_of(status, label, model_kind, device, created_after, created_before)
    with connected(server) as client:
        count = write(output, _exported(client, filters))
    typer.echo(json.dumps({"benchmarks": count, "output": str(output)}) if as_json else f"{count} → {output}")


def _exported(client: Client, filters: BenchmarkFilters) -> Iterator[_Exported]:
    for item in client.iterate(**filters):
        try:
            benchmark = client.get(item.id)
            report_json = client.report_text(item.id, "json") if benchmark.status == "succeeded" else None
        except ProblemError as error:
            if error.status not in {404, 410}:
                raise
            note(f"{item.id} was deleted meanwhile and is left out.")
            continue
        yield _Exported(benchmark, report_json)


def _writer_of(output: Path) -> Callable[[Path, Iterable[_Exported]], int]:
    if not output.absolute().parent.is_dir():
        raise typer.BadParameter(f"--output {output}: folder {output.parent} does not exist")
    if output.is_dir() or not output.suffix:
        return _write_folder
    writers = {".csv": _write_csv, ".jsonl": _write_lines}
    if output.suffix not in writers:
        raise typer.BadParameter(f"--output {output} must be a folder or end in .csv or .jsonl")
    return writers[output.suffix]


def _write_csv(output: Path, exported: Iterable[_Exported]) -> int:
    with _replacing(output) as file:
        return write_csv(file, (item.parsed() for item in exported))


def _write_lines(output: Path, exported: Iterable[_Exported]) -> int:
    count = 0
    with _replacing(output) as file:
        for item in exported:
            file.write(item.line() + "\n")
            count += 1
    return count


def _write_folder(output: Path, exported: Iterable[_Exported]) -> int:
    output.mkdir(exist_ok=True)
    count = 0
    for item in exported:
        with _replacing(output / f"{item.benchmark.id}.json") as file:
            file.write(item.line() + "\n")
        count += 1
    return count


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Yields a temporary file that replaces the path once it is complete."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
