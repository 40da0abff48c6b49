"""Sweeps: many benchmarks in one request, and their one table."""

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response

from app import errors
from app.reports.sweep_table import to_csv, to_markdown
from app.routes.benchmarks import check_allowed
from app.routes.http.auth import require
from app.routes.http.dependencies import SessionDep, SettingsDep
from app.routes.http.etags import matches, strong_etag
from app.routes.http.idempotency import IdempotencyKey, refusing_reuse
from app.routes.http.negotiation import choose
from app.routes.http.not_found import not_found
from app.routes.http.quota import AdmissionDep
from app.store import idempotency, sweeps
from app.store.resources import to_sweep
from halftime.contract.resources.sweep import Sweep, SweepRequest

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

SweepFormat = Literal["json", "csv", "md"]
MEDIA_TYPES: dict[SweepFormat, str] = {"json": "application/json", "csv": "text/csv", "md": "text/markdown"}

RENDERERS: dict[SweepFormat, Callable[[Sweep], str]] = {
    "json": lambda sweep: sweep.model_dump_json(),
    "csv": to_csv,
    "md": to_markdown,
}

SweepId = Annotated[UUID, Path(description="The sweep's id, as `POST /sweeps` gave it")]


@router.post(
    "",
    status_code=202,
    responses=errors.problem_responses(
        errors.BadRequest,
        errors.BodyTooLarge,
        errors.Invalid,
        errors.QuotaExceeded,
        errors.QueueFull,
        errors.DatabaseUnavailable,
    ),
)
async def submit_sweep(
    request: SweepRequest,
    response: Response,
    session: SessionDep,
    settings: SettingsDep,
    admission: AdmissionDep,
    idempotency_key: IdempotencyKey = None,
) -> Sweep:
    """Stores and enqueues a benchmark for every combination of the lists: all of them, or none."""
    for one in request.benchmarks():
        check_allowed(one, settings)
    with refusing_reuse():
        async with session.begin():
            sweep = await idempotency.submit_sweep_once(session, request, idempotency_key, admission)
    found = await sweeps.get(session, sweep.id)
    assert found is not None
    response.headers.update(admission.headers | {"Location": f"/sweeps/{sweep.id}"})
    return to_sweep(*found)


@router.get(
    "/{sweep_id}",
    dependencies=[require("read")],
    responses={
        200: {
            "description": "Where the sweep stands, and its table",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Sweep"}},
                "text/csv": {"schema": {"type": "string"}},
                "text/markdown": {"schema": {"type": "string"}},
            },
        },
        304: {"description": "The client has it already"},
        **errors.problem_responses(
            errors.NotFound, errors.Purged, errors.NotAcceptable, errors.Invalid, errors.DatabaseUnavailable
        ),
    },
    response_model=Sweep,
)
async def get_sweep(
    sweep_id: SweepId,
    session: SessionDep,
    accept: Annotated[str, Header()] = "*/*",
    if_none_match: Annotated[str | None, Header()] = None,
    sweep_format: Annotated[SweepFormat | None, Query(alias="format", description="overrides `Accept`")] = None,
) -> Response:
    """Gives the states of a sweep's benchmarks and one table: speedup and memory against batch size.

    Its `ETag` changes with the table: send the last as `If-None-Match` to poll cheaply.
    """
    chosen = sweep_format or choose(accept, MEDIA_TYPES)
    found = await sweeps.get(session, sweep_id)
    if found is None:
        raise await not_found(session, sweep_id, "No sweep has this id.")
    body = RENDERERS[chosen](to_sweep(*found)).encode()
    headers = {"ETag": strong_etag(body), "Vary": "Accept", "Cache-Control": "no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[chosen])
