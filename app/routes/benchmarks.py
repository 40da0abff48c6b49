"""Submit, read, list, cancel, delete and run again."""

import re
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

from app import errors
from app.background.webhooks import check_webhook
from app.routes.http import long_poll
from app.routes.http.auth import require
from app.routes.http.dependencies import BenchmarkId, DatabaseDep, NotificationsDep, SessionDep, SettingsDep
from app.routes.http.idempotency import IdempotencyKey, refusing_reuse
from app.routes.http.long_poll import LONGEST_WAIT_SECONDS
from app.routes.http.not_found import UNKNOWN, not_found
from app.routes.http.prefer_header import preferred_wait
from app.routes.http.quota import AdmissionDep
from app.settings import Settings
from app.store import benchmarks, idempotency
from app.store.benchmarks import Filters
from app.store.history import costs
from app.store.resources import to_item
from halftime.contract.precisions import DeviceChoice
from halftime.contract.request.request import BenchmarkRequest, stored_request
from halftime.contract.resources.benchmark import TERMINAL, Benchmark, BenchmarkPage, Status
from halftime.contract.resources.cost import Preview
from halftime.contract.resources.problem import FieldError

router = APIRouter(prefix="/benchmarks", tags=["benchmarks"])


def _written_as_date(moment: object) -> object:
    """Raises for what begins with no date: a number, however written, would be taken for seconds since 1970."""
    if isinstance(moment, str) and not re.match(r"\d{4}-\d\d-\d\d", moment):
        raise PydanticCustomError("not_a_date", "must be a date and time with a zone, as RFC 3339 writes them")
    return moment


Moment = Annotated[AwareDatetime, BeforeValidator(_written_as_date)]
Label = Annotated[str, Query(pattern=r"^[^:]+:", max_length=400)]
Prefer = Annotated[str | None, Header(description=f"`wait=N` holds the answer, at most {LONGEST_WAIT_SECONDS} s")]
Wait = Annotated[float, Query(ge=0, le=LONGEST_WAIT_SECONDS, description="seconds to wait for its end at most")]


@router.post(
    "",
    status_code=202,
    responses={
        200: {"model": Preview, "description": "With `validate_only`: the request as it would run; nothing is stored"},
        **errors.problem_responses(
            errors.BadRequest,
            errors.BodyTooLarge,
            errors.Invalid,
            errors.QuotaExceeded,
            errors.QueueFull,
            errors.DatabaseUnavailable,
        ),
    },
    response_model=Benchmark,
)
async def submit_benchmark(
    http: Request,
    request: BenchmarkRequest,
    session: SessionDep,
    database: DatabaseDep,
    changes: NotificationsDep,
    settings: SettingsDep,
    admission: AdmissionDep,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    validate_only: Annotated[bool, Query(description="say what would run, and store nothing")] = False,
) -> Response:
    """Stores and enqueues a benchmark. Poll `Location` until `status` is terminal.

    A `cuda` benchmark that no live worker could run comes back `failed` with `cuda_unavailable`.
    """
    check_allowed(request, settings)
    if validate_only:
        preview = await costs.preview(session, request)
        return Response(preview.model_dump_json(), media_type="application/json")
    with refusing_reuse():
        async with session.begin():
            row = await idempotency.submit_once(session, request, idempotency_key, admission)
    structlog.contextvars.bind_contextvars(benchmark=str(row.id))
    wait_seconds = preferred_wait(prefer)
    headers = admission.headers | {"Location": f"/benchmarks/{row.id}"}
    if wait_seconds is None:
        answer = await long_poll.read(database, row.id)
    else:
        headers["Preference-Applied"] = f"wait={wait_seconds}"
        answer = await long_poll.read_when_ended(http, database, changes, row.id, wait_seconds)
    return answer.response(202, **headers)


@router.get(
    "",
    dependencies=[require("read")],
    responses=errors.problem_responses(errors.Invalid, errors.DatabaseUnavailable),
)
async def list_benchmarks(
    session: SessionDep,
    status: Annotated[list[Status] | None, Query(description="any of these")] = None,
    label: Annotated[list[Label] | None, Query(description="`key:value`, all of these")] = None,
    model_kind: Annotated[str | None, Query(pattern=r"^[a-z_]{1,32}$")] = None,
    device: Annotated[DeviceChoice | None, Query(description="as requested")] = None,
    created_after: Moment | None = None,
    created_before: Moment | None = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before", max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> BenchmarkPage:
    """Lists benchmarks, newest first, without their requests and reports."""
    if any("\x00" in pair for pair in label or []):
        raise errors.Invalid("A label holds a NUL character, which no stored label can.")
    labels = [(key, value) for key, _, value in (pair.partition(":") for pair in label or [])]
    filters = Filters(status or [], labels, model_kind, device, created_after, created_before)
    try:
        rows, next_cursor = await benchmarks.page(session, filters, cursor, limit)
    except ValueError as error:
        fault = FieldError(loc="/query/cursor", msg="not a cursor of this list", type="bad_cursor")
        raise errors.BadCursor("Use `next_cursor` of an earlier page, or leave `cursor` out.", [fault]) from error
    return BenchmarkPage(items=[to_item(row) for row in rows], next_cursor=next_cursor)


@router.get(
    "/{benchmark_id}",
    dependencies=[require("read")],
    responses={
        304: {"description": "Unchanged since `If-None-Match`"},
        **errors.problem_responses(errors.NotFound, errors.Purged, errors.Invalid, errors.DatabaseUnavailable),
    },
    response_model=Benchmark,
)
async def get_benchmark(
    http: Request,
    benchmark_id: BenchmarkId,
    database: DatabaseDep,
    changes: NotificationsDep,
    if_none_match: Annotated[str | None, Header()] = None,
    wait: Wait = 0,
) -> Response:
    """Says where a benchmark stands. Send the last `ETag` as `If-None-Match` to poll cheaply, or `wait` for its end."""
    if wait:
        answer = await long_poll.read_when_ended(http, database, changes, benchmark_id, wait)
    else:
        answer = await long_poll.read(database, benchmark_id)
    return answer.response(if_none_match=if_none_match)


@router.post(
    "/{benchmark_id}/cancel",
    dependencies=[require("submit")],
    responses={
        202: {"model": Benchmark, "description": "Running; it will be cancelled in a moment"},
        **errors.problem_responses(errors.NotFound, errors.Conflict, errors.Invalid, errors.DatabaseUnavailable),
    },
    response_model=Benchmark,
)
async def cancel_benchmark(benchmark_id: BenchmarkId, session: SessionDep, database: DatabaseDep) -> Response:
    """Cancels a queued benchmark at once (200), a running one within two seconds (202). Repeating it is harmless."""
    async with session.begin():
        row = await benchmarks.cancel(session, benchmark_id)
    if row is None:
        raise errors.NotFound(UNKNOWN)
    if row.status in {"succeeded", "failed"}:
        raise errors.AlreadyFinished(f"The benchmark has {row.status} already; there is nothing to cancel.")
    answer = await long_poll.read(database, benchmark_id)
    return answer.response(200 if answer.status == "cancelled" else 202)


@router.post(
    "/{benchmark_id}/rerun",
    status_code=202,
    responses=errors.problem_responses(
        errors.NotFound,
        errors.Purged,
        errors.Invalid,
        errors.QuotaExceeded,
        errors.QueueFull,
        errors.DatabaseUnavailable,
    ),
    response_model=Benchmark,
)
async def rerun_benchmark(
    benchmark_id: BenchmarkId,
    session: SessionDep,
    database: DatabaseDep,
    settings: SettingsDep,
    admission: AdmissionDep,
) -> Response:
    """Makes a new benchmark of the same request, with the limits of today."""
    async with session.begin():
        earlier = await benchmarks.get(session, benchmark_id)
        if earlier is None:
            raise await not_found(session, benchmark_id)
        request = stored_request(earlier.request)
        check_allowed(request, settings)
        row = await benchmarks.submit(session, request, api_key_id=await admission.admit(1))
    answer = await long_poll.read(database, row.id)
    return answer.response(202, **admission.headers, Location=f"/benchmarks/{row.id}")


@router.delete(
    "/{benchmark_id}",
    status_code=204,
    dependencies=[require("submit")],
    responses=errors.problem_responses(errors.NotFound, errors.Conflict, errors.Invalid, errors.DatabaseUnavailable),
)
async def delete_benchmark(benchmark_id: BenchmarkId, session: SessionDep) -> None:
    """Deletes a finished benchmark with its report, events and logs."""
    async with session.begin():
        status = await benchmarks.remove(session, benchmark_id)
    if status is None:
        raise errors.NotFound(UNKNOWN)
    if status not in TERMINAL:
        raise errors.StillRunning(f"The benchmark is {status}. Cancel it first, or wait for its end.")


def check_allowed(request: BenchmarkRequest, settings: Settings) -> None:
    """What this server's settings allow of a valid request. Raises TooManyParameters, WebhookRefused."""
    _check_size(request, settings)
    check_webhook(request, settings)


def _check_size(request: BenchmarkRequest, settings: Settings) -> None:
    """Raises TooManyParameters for a model beyond the server's limit, where its size is known without torch."""
    count = request.model.parameter_count()
    if count is not None and count > settings.max_parameters:
        fault = FieldError(loc="/model", msg=f"{count:,} parameters", type="too_many_parameters")
        raise errors.TooManyParameters(
            f"The model has {count:,} parameters; this server accepts {settings.max_parameters:,} "
            "(HALFTIME_MAX_PARAMETERS).",
            [fault],
        )
