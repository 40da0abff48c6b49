"""`/ui/new`: submits a benchmark, from a form beside its JSON."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from app import errors
from app.routes.http.auth import Caller, Submitter
from app.routes.http.csrf import SameOrigin
from app.routes.http.dependencies import AdmissionDep, DatabaseDep, SessionDep, SettingsDep
from app.routes.pages.response import page
from app.routes.use_cases import benchmarks
from app.store import workers
from app.store.database.connection import Database
from app.store.queue import ANY_DEVICE
from app.web.examples import EXAMPLES, FIRST
from app.web.form import request_form, without_defaults
from app.web.formats import format_json
from halftime.contract.request.request import BenchmarkRequest, stored_request
from halftime.contract.resources.faults import field_errors
from halftime.contract.resources.worker import WorkerDevice
from halftime.contract.strict_json import AmbiguousJson, InvalidJson, parse_json

router = APIRouter(prefix="/ui/new", include_in_schema=False)

From = Annotated[UUID | None, Query(alias="from", description="a benchmark to change and run again")]
Written = Annotated[str | None, Query(alias="request", description="the JSON of a request to change and run")]


@router.get("")
async def show_form(
    request: Request,
    caller: Submitter,
    database: DatabaseDep,
    source: From = None,
    example: str | None = None,
    written: Written = None,
) -> Response:
    """Shows the form with the request of another benchmark, an example, one in the address, or a minimal request."""
    async with database.reading() as session:
        devices = await workers.serving_devices(session, ANY_DEVICE)
    if source is not None:
        return _form(request, caller, await _request_of(source, database), source=source, devices=devices)
    if written is not None:
        return _form(request, caller, written, devices=devices)
    if example is not None and example not in EXAMPLES:
        raise errors.NotFound("No example has this name. Choose one on the page New.")
    return _form(request, caller, format_json(EXAMPLES[example][1] if example else FIRST), devices=devices)


@router.post("", dependencies=[SameOrigin])
async def submit(
    request: Request, caller: Submitter, session: SessionDep, settings: SettingsDep, admission: AdmissionDep
) -> Response:
    """Submits the benchmark and shows it, or shows the form again with its text and the errors."""
    form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
    written = form.get("request", "")
    try:
        row = await benchmarks.submit(session, _parse(written), settings, admission)
    except errors.HalftimeError as error:
        return _form(request, caller, written, error)
    return RedirectResponse(f"/ui/benchmarks/{row.id}", 303)


async def _request_of(source: UUID, database: Database) -> str:
    """Returns the request of a benchmark as JSON, without defaults. Raises NotFound, Purged."""
    async with database.reading() as session:
        row = await benchmarks.get(session, source)
    return format_json(without_defaults(stored_request(row.request)))


def _form(
    request: Request,
    caller: Caller,
    written: str,
    problem: errors.HalftimeError | None = None,
    source: UUID | None = None,
    devices: Sequence[WorkerDevice] = (),
) -> Response:
    shown: dict[str, Any] = {"form": request_form(), "examples": EXAMPLES, "written": written, "source": source}
    shown["devices"] = devices
    response = page(request, "new/page.html", caller, problem.status if problem else 200, problem=problem, **shown)
    response.headers.update(problem.headers if problem else {})
    return response


def _parse(written: str) -> BenchmarkRequest:
    """Parses a request. Raises BadRequest for invalid JSON, Invalid for an invalid request."""
    try:
        body = parse_json(written)
    except InvalidJson as error:
        raise errors.BadRequest(f"This is not JSON: {error}. Correct it and submit again.") from error
    except AmbiguousJson as error:
        raise errors.BadRequest(f"The request {error}. Correct it and submit again.") from error
    try:
        return BenchmarkRequest.model_validate(body)
    except ValidationError as error:
        faults = field_errors(error.errors(), body)
        raise errors.Invalid("The request is not valid. Correct the fields below and submit again.", faults) from error
