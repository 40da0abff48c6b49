"""`/`: the list of benchmarks, with the queue and the workers."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from pydantic import Field, ValidationError

from app.routes.http.auth import Reader
from app.routes.http.dependencies import DatabaseDep
from app.routes.pages.response import page
from app.store import benchmarks, workers
from app.store.benchmarks import Filters
from app.store.database.tables import BenchmarkRow
from app.store.resources import to_item
from app.web.drawing import IntervalBar, interval_bars
from halftime.contract.models import MODEL_KINDS
from halftime.contract.precisions import DeviceChoice
from halftime.contract.resources.benchmark import BenchmarkItem, Progress, Status
from halftime.contract.strict import Input

router = APIRouter(include_in_schema=False)

#: Benchmarks on one page.
PER_PAGE = 50

#: Error message of each field of the form.
FAULTS = {
    "status": "Choose one of the statuses.",
    "label": "Write a label as key:value.",
    "model_kind": "Choose one of the kinds of model.",
    "device": "Choose cuda, cpu or auto.",
    "cursor": "This link to older benchmarks is not valid. Start again from the newest.",
}

Label = Annotated[str, Field(pattern=r"^[^:\x00]+:[^\x00]*$", max_length=400)]


class ListForm(Input):
    """The fields of the form above the list."""

    status: tuple[Status, ...] = ()
    label: tuple[Label, ...] = ()
    model_kind: Literal[tuple(MODEL_KINDS)] | None = None  # type: ignore[valid-type] # the kinds on offer
    device: DeviceChoice | None = None
    cursor: Annotated[str, Field(max_length=64)] | None = None

    def filters(self) -> Filters:
        """Returns the filters of the list."""
        labels = [(key, value) for key, _, value in (pair.partition(":") for pair in self.label)]
        return Filters([*self.status], labels, self.model_kind, self.device)


@dataclass(frozen=True)
class Line:
    """A row of the list."""

    item: BenchmarkItem
    progress: Progress | None
    speedup_bar: IntervalBar | None


@router.get("/")
async def show_benchmarks(request: Request, caller: Reader, database: DatabaseDep, fragment: str = "") -> Response:
    """Lists benchmarks, newest first, with the queue and the workers; 422 with a message beside each invalid field."""
    written = _written(request)
    lines, next_cursor, faults = [], None, {}
    async with database.reading() as session:
        try:
            form = ListForm.model_validate(written)
            rows, next_cursor = await benchmarks.page(session, form.filters(), form.cursor, PER_PAGE)
            lines = _lines(rows)
        except ValidationError as error:
            faults = {str(fault["loc"][0]): FAULTS[str(fault["loc"][0])] for fault in error.errors()}
        except ValueError:
            faults = {"cursor": FAULTS["cursor"]}
        fleet, unfinished = await workers.all_workers(session), await benchmarks.unfinished(session)
    return page(
        request,
        "list/live.html" if fragment else "list/page.html",
        caller,
        status=422 if faults else 200,
        lines=lines,
        fleet=fleet,
        unfinished=unfinished,
        written=written,
        faults=faults,
        kinds=list(MODEL_KINDS),
        fragment_url="/?" + urlencode(written | {"fragment": "list"}, doseq=True),
        newest_url="/?" + urlencode({name: value for name, value in written.items() if name != "cursor"}, doseq=True),
        older_url="/?" + urlencode(written | {"cursor": next_cursor}, doseq=True) if next_cursor else None,
    )


def _written(request: Request) -> dict[str, Any]:
    """Returns the fields of the form that are not empty."""
    query = request.query_params
    many = {name: tuple(value for value in query.getlist(name) if value) for name in ("status", "label")}
    one = {name: query.get(name) for name in ("model_kind", "device", "cursor")}
    return {name: value for name, value in (many | one).items() if value}


def _lines(rows: list[BenchmarkRow]) -> list[Line]:
    items = [to_item(row) for row in rows]
    bars = interval_bars([item.summary.speedup if item.summary else None for item in items])
    return [
        Line(item, Progress.model_validate(row.progress) if row.progress else None, bar)
        for row, item, bar in zip(rows, items, bars, strict=True)
    ]
