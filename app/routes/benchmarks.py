"""Submit, read, list, cancel and delete benchmarks."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import AwareDatetime

from app import errors
from app.contract.benchmark import TERMINAL, Benchmark, BenchmarkPage, Status
from app.contract.precisions import DeviceChoice
from app.contract.problem import FieldError
from app.contract.request import BenchmarkRequest
from app.routes.absence import UNKNOWN, absence
from app.routes.dependencies import BenchmarkId, SessionDep, SettingsDep
from app.routes.shapes import etag, matches, to_benchmark, to_item
from app.settings import Settings
from app.store import benchmarks
from app.store.benchmarks import Filters
from app.store.tables import BenchmarkRow
from app.webhooks import check_webhook

router = APIRouter(prefix="/benchmarks", tags=["benchmarks"])

#: Seconds between two polls that serve a client well.
RETRY_AFTER = {"queued": "2", "running": "2", "cancelling": "1"}

Label = Annotated[str, Query(pattern=r"^[^:]+:", max_length=400)]


@router.post(
    "",
    status_code=202,
    responses=errors.problem_responses(
        errors.BadRequest, errors.BodyTooLarge, errors.Invalid, errors.DatabaseUnavailable
    ),
)
async def submit_benchmark(
    request: BenchmarkRequest, response: Response, session: SessionDep, settings: SettingsDep
) -> Benchmark:
    """Stores and enqueues a benchmark. Poll `Location` until `status` is terminal.

    A `cuda` benchmark that no live worker could run comes back `failed` with `cuda_unavailable`.
    """
    check_size(request, settings)
    check_webhook(request, settings)
    async with session.begin():
        row = await benchmarks.submit(session, request)
    answer = await _answer(session, row, response)
    response.headers["Location"] = answer.links.self
    return answer


@router.get("", responses=errors.problem_responses(errors.Invalid, errors.DatabaseUnavailable))
async def list_benchmarks(
    session: SessionDep,
    status: Annotated[list[Status] | None, Query(description="any of these")] = None,
    label: Annotated[list[Label] | None, Query(description="`key:value`, all of these")] = None,
    model_kind: Annotated[str | None, Query(pattern=r"^[a-z_]{1,32}$")] = None,
    device: Annotated[DeviceChoice | None, Query(description="as requested")] = None,
    created_after: AwareDatetime | None = None,
    created_before: AwareDatetime | None = None,
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
    responses={
        304: {"description": "Unchanged since `If-None-Match`"},
        **errors.problem_responses(errors.NotFound, errors.Purged, errors.Invalid, errors.DatabaseUnavailable),
    },
    response_model=Benchmark,
)
async def get_benchmark(
    benchmark_id: BenchmarkId,
    response: Response,
    session: SessionDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Benchmark | Response:
    """Says where a benchmark stands. Send the last `ETag` as `If-None-Match` to poll cheaply."""
    row = await benchmarks.get(session, benchmark_id)
    if row is None:
        raise await absence(session, benchmark_id)
    answer = await _answer(session, row, response)
    if matches(if_none_match, response.headers["ETag"]):
        return Response(status_code=304, headers=dict(response.headers))
    return answer


@router.post(
    "/{benchmark_id}/cancel",
    responses={
        202: {"model": Benchmark, "description": "Running; it will be cancelled in a moment"},
        **errors.problem_responses(errors.NotFound, errors.Conflict, errors.Invalid, errors.DatabaseUnavailable),
    },
)
async def cancel_benchmark(benchmark_id: BenchmarkId, response: Response, session: SessionDep) -> Benchmark:
    """Cancels a queued benchmark at once (200), a running one within two seconds (202). Repeating it is harmless."""
    async with session.begin():
        row = await benchmarks.cancel(session, benchmark_id)
    if row is None:
        raise errors.NotFound(UNKNOWN)
    if row.status in {"succeeded", "failed"}:
        raise errors.AlreadyFinished(f"The benchmark has {row.status} already; there is nothing to cancel.")
    response.status_code = 200 if row.status == "cancelled" else 202
    return await _answer(session, row, response)


@router.delete(
    "/{benchmark_id}",
    status_code=204,
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


def check_size(request: BenchmarkRequest, settings: Settings) -> None:
    """Raises TooManyParameters for a model beyond the server's limit, where its size is known without torch."""
    count = request.model.parameter_count()
    if count is not None and count > settings.max_parameters:
        fault = FieldError(loc="/model", msg=f"{count:,} parameters", type="too_many_parameters")
        raise errors.TooManyParameters(
            f"The model has {count:,} parameters; this server accepts {settings.max_parameters:,} "
            "(HALFTIME_MAX_PARAMETERS).",
            [fault],
        )


async def _answer(session: SessionDep, row: BenchmarkRow, response: Response) -> Benchmark:
    place = await benchmarks.place(session, row)
    response.headers["ETag"] = etag(row, place)
    response.headers["Cache-Control"] = "no-cache"
    if row.status in RETRY_AFTER:
        response.headers["Retry-After"] = RETRY_AFTER[row.status]
    return to_benchmark(row, place)
