"""`/benchmarks`: submit, read, list, cancel, rerun and delete."""

import re
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

from app import errors
from app.routes.api.benchmark_response import read, read_when_ended
from app.routes.http.auth import require
from app.routes.http.dependencies import (
    AdmissionDep,
    BenchmarkId,
    DatabaseDep,
    IdempotencyKey,
    NotificationsDep,
    SessionDep,
    SettingsDep,
)
from app.routes.http.long_poll import LONGEST_WAIT_SECONDS
from app.routes.http.prefer_header import preferred_wait
from app.routes.http.unique_names import UniqueNames
from app.routes.use_cases import benchmarks as use_cases
from app.store import benchmarks
from app.store.benchmarks import Filters
from app.store.resources import to_item
from halftime.contract.precisions import DeviceChoice
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Benchmark, BenchmarkPage, Status
from halftime.contract.resources.cost import Preview
from halftime.contract.resources.problem import FieldError

router = APIRouter(prefix="/benchmarks", tags=["benchmarks"])


def _starts_with_date(value: object) -> object:
    """Raises for text that starts with no date: pydantic would read a number as seconds since 1970."""
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d", value):
        raise PydanticCustomError("not_a_date", "must be a date and time with a zone, as in RFC 3339")
    return value


Timestamp = Annotated[AwareDatetime, BeforeValidator(_starts_with_date)]
Label = Annotated[str, Query(pattern=r"^[^:]+:", max_length=400)]
Prefer = Annotated[
    str | None,
    Header(description=f"`wait=N` holds the response until the benchmark ends, for at most {LONGEST_WAIT_SECONDS} s"),
]
Wait = Annotated[
    float, Query(ge=0, le=LONGEST_WAIT_SECONDS, description="longest time to wait for its end, in seconds")
]


@router.post(
    "",
    status_code=202,
    dependencies=[UniqueNames],
    responses={
        200: {"model": Preview, "description": "With `validate_only`: what the request would run; nothing is stored"},
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
    notifications: NotificationsDep,
    settings: SettingsDep,
    admission: AdmissionDep,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    validate_only: Annotated[bool, Query(description="only return what would run, and store nothing")] = False,
) -> Response:
    """Stores and enqueues a benchmark. Poll `Location` until `status` is terminal.

    A `cuda` benchmark that no live worker can run is returned as `failed` with `cuda_unavailable`.
    """
    if validate_only:
        preview = await use_cases.preview(session, request, settings)
        return Response(preview.model_dump_json(), media_type="application/json")
    row = await use_cases.submit(session, request, settings, admission, idempotency_key)
    structlog.contextvars.bind_contextvars(benchmark=str(row.id))
    wait_seconds = preferred_wait(prefer)
    headers = admission.headers | {"Location": f"/benchmarks/{row.id}"}
    if wait_seconds is None:
        benchmark = await read(database, row.id)
    else:
        headers["Preference-Applied"] = f"wait={wait_seconds}"
        benchmark = await read_when_ended(http, database, notifications, row.id, wait_seconds)
    return benchmark.response(202, **headers)


@router.get(
    "",
    dependencies=[require("read")],
    responses=errors.problem_responses(errors.Invalid, errors.DatabaseUnavailable),
)
async def list_benchmarks(
    session: SessionDep,
    status: Annotated[list[Status] | None, Query(description="any of these statuses")] = None,
    label: Annotated[list[Label] | None, Query(description="`key:value`; all of these labels")] = None,
    model_kind: Annotated[str | None, Query(pattern=r"^[a-z_]{1,32}$")] = None,
    device: Annotated[DeviceChoice | None, Query(description="the requested device")] = None,
    created_after: Timestamp | None = None,
    created_before: Timestamp | None = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page", max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> BenchmarkPage:
    """Lists benchmarks, newest first, without requests and reports."""
    if any("\x00" in pair for pair in label or []):
        raise errors.Invalid("A label contains a NUL character, which no stored label can contain. Remove it.")
    labels = [(key, value) for key, _, value in (pair.partition(":") for pair in label or [])]
    filters = Filters(status or [], labels, model_kind, device, created_after, created_before)
    try:
        rows, next_cursor = await benchmarks.page(session, filters, cursor, limit)
    except ValueError as error:
        fault = FieldError(loc="/query/cursor", msg="not a cursor of this list", type="bad_cursor")
        raise errors.BadCursor(
            "The cursor is not valid. Use `next_cursor` of an earlier page, or leave `cursor` out.", [fault]
        ) from error
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
    notifications: NotificationsDep,
    if_none_match: Annotated[str | None, Header()] = None,
    wait: Wait = 0,
) -> Response:
    """Returns a benchmark. To poll cheaply, send the last `ETag` as `If-None-Match`, or `wait` for its end."""
    if wait:
        benchmark = await read_when_ended(http, database, notifications, benchmark_id, wait)
    else:
        benchmark = await read(database, benchmark_id)
    return benchmark.response(if_none_match=if_none_match)


@router.post(
    "/{benchmark_id}/cancel",
    dependencies=[require("submit")],
    responses={
        202: {"model": Benchmark, "description": "The benchmark is running; it will be cancelled within two seconds"},
        **errors.problem_responses(errors.NotFound, errors.Conflict, errors.Invalid, errors.DatabaseUnavailable),
    },
    response_model=Benchmark,
)
async def cancel_benchmark(benchmark_id: BenchmarkId, session: SessionDep, database: DatabaseDep) -> Response:
    """Cancels a queued benchmark at once (200), a running one within two seconds (202). Repeating it is harmless."""
    await use_cases.cancel(session, benchmark_id)
    benchmark = await read(database, benchmark_id)
    return benchmark.response(200 if benchmark.status == "cancelled" else 202)


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
    """Submits the request of an earlier benchmark as a new one, under the current limits."""
    row = await use_cases.rerun(session, benchmark_id, settings, admission)
    benchmark = await read(database, row.id)
    return benchmark.response(202, **admission.headers, Location=f"/benchmarks/{row.id}")


@router.delete(
    "/{benchmark_id}",
    status_code=204,
    dependencies=[require("submit")],
    responses=errors.problem_responses(errors.NotFound, errors.Conflict, errors.Invalid, errors.DatabaseUnavailable),
)
async def delete_benchmark(benchmark_id: BenchmarkId, session: SessionDep) -> None:
    """Deletes a finished benchmark with its report, traces, events and logs."""
    await use_cases.delete(session, benchmark_id)
