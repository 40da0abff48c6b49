"""The options that say which benchmarks, and where answers are written."""

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
        help=f"any of these: {', '.join(STATUSES)}; repeatable",
    ),
]
LabelFilter = Annotated[list[str] | None, typer.Option("--label", help="name=value, all of these; repeatable")]
ModelKindOption = Annotated[str | None, typer.Option("--model-kind", help="such as transformer")]
DeviceFilter = Annotated[DeviceChoice | None, typer.Option("--device", help="as requested")]
AfterOption = Annotated[datetime | None, typer.Option("--created-after", help="local time")]
BeforeOption = Annotated[datetime | None, typer.Option("--created-before", help="local time")]

#: The formats of a report and of a sweep's table, by the ending of the file that holds one.
REPORT_FORMATS = {".html": "html", ".json": "json", ".md": "md", ".csv": "csv"}
SWEEP_FORMATS = {".csv": "csv", ".json": "json", ".md": "md"}


def filters_of(
    status: list[str] | None,
    label: list[str] | None,
    model_kind: str | None,
    device: DeviceChoice | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> BenchmarkFilters:
    """The options as the client takes them; times without a zone are local."""
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
    """Labels from `name=value` or `name:value`: no name has either sign. Raises BadParameter."""
    labels = {}
    for pair in pairs or []:
        sign = min((sign for sign in "=:" if sign in pair), key=pair.index, default=None)
        if sign is None:
            raise typer.BadParameter(f"--label {pair!r} must look like team=ranking")
        name, _, value = pair.partition(sign)
        labels[name] = value
    return labels


def formats_of(paths: list[Path] | None, formats: dict[str, str]) -> dict[Path, str]:
    """The format of every file that is to be written. Raises BadParameter for one that cannot be."""
    for path in paths or []:
        if path.suffix not in formats:
            raise typer.BadParameter(f"--output {path} must end in {' or '.join(formats)}")
        if not path.parent.is_dir():
            raise typer.BadParameter(f"--output {path}: there is no folder {path.parent}")
    return {path: formats[path.suffix] for path in paths or []}
