"""Options that filter benchmarks and name output files."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, get_args

import typer

from halftime.client.endpoints import BenchmarkFilters
from halftime.contract.precisions import DeviceChoice
from halftime.contract.resources.benchmark import Status

STATUSES: tuple[Status, ...] = get_args(Status)

StatusOption = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        autocompletion=lambda: list(STATUSES),
        help=f"one of {', '.join(STATUSES)}; repeatable: any of them matches",
    ),
]
LabelFilter = Annotated[list[str] | None, typer.Option("--label", help="name=value; repeatable: all must match")]
ModelKindOption = Annotated[str | None, typer.Option("--model-kind", help="kind of model, such as transformer")]
DeviceFilter = Annotated[DeviceChoice | None, typer.Option("--device", help="device named in the request")]
AfterOption = Annotated[datetime | None, typer.Option("--created-after", help="earliest creation, local time")]
BeforeOption = Annotated[datetime | None, typer.Option("--created-before", help="latest creation, local time")]

#: The formats of a report, of a sweep's table and of a trace by file name extension.
REPORT_FORMATS = {".html": "html", ".json": "json", ".md": "md", ".csv": "csv"}
SWEEP_FORMATS = {".csv": "csv", ".json": "json", ".md": "md"}
TRACE_FORMATS = {".gz": "gzip"}


def filters_of(
    status: list[str] | None,
    label: list[str] | None,
    model_kind: str | None,
    device: DeviceChoice | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> BenchmarkFilters:
    """Returns the options as filters of the client; times without a zone are local. Raises BadParameter."""
    filters = BenchmarkFilters(status=_statuses_of(status), labels=labels_of(label))
    if model_kind:
        filters["model_kind"] = model_kind
    if device:
        filters["device"] = device
    if created_after:
        filters["created_after"] = created_after.astimezone()
    if created_before:
        filters["created_before"] = created_before.astimezone()
    return filters


def _statuses_of(names: list[str] | None) -> list[Status]:
    unknown = set(names or []) - set(STATUSES)
    if unknown:
        raise typer.BadParameter(f"--status must be one of {', '.join(STATUSES)}, not {', '.join(sorted(unknown))}")
    return [status for status in STATUSES if status in (names or [])]


def labels_of(pairs: list[str] | None) -> dict[str, str]:
    """Parses labels from `name=value` or `name:value`; names contain neither sign. Raises BadParameter."""
    labels = {}
    for pair in pairs or []:
        sign = min((sign for sign in "=:" if sign in pair), key=pair.index, default=None)
        if sign is None:
            raise typer.BadParameter(f"--label {pair!r} must look like team=ranking")
        name, _, value = pair.partition(sign)
        labels[name] = value
    return labels


def formats_of(paths: list[Path] | None, formats: dict[str, str]) -> dict[Path, str]:
    """Returns the format of every output file. Raises BadParameter for an unknown extension or a missing folder."""
    for path in paths or []:
        if path.suffix not in formats:
            raise typer.BadParameter(f"--output {path} must end in {' or '.join(formats)}")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"--output {path}: folder {path.parent} does not exist")
    return {path: formats[path.suffix] for path in paths or []}
