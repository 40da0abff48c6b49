"""`/sweeps`: many benchmarks in one request, with one table of results."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response

from app import errors
from app.reports.sweep_table import to_csv, to_markdown
from app.routes.http.auth import require
from app.routes.http.dependencies import AdmissionDep, IdempotencyKey, SessionDep, SettingsDep, SweepId
from app.routes.http.etags import matches, strong_etag
from app.routes.http.negotiation import choose
from app.routes.http.unique_names import UniqueNames
from app.routes.use_cases import sweeps
from halftime.contract.resources.sweep import Sweep, SweepRequest

router = APIRouter(prefix="/sweeps", tags=["sweeps"])

SweepFormat = Literal["json", "csv", "md"]
MEDIA_TYPES: dict[SweepFormat, str] = {"json": "application/json", "csv": "text/csv", "md": "text/markdown"}

RENDERERS: dict[SweepFormat, Callable[[Sweep], str]] = {
    "json": lambda sweep: sweep.model_dump_json(),
    "csv": to_csv,
    "md": to_markdown,
}


@router.post(
    "",
    status_code=202,
    dependencies=[UniqueNames],
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
    """Stores and enqueues a benchmark for every combination of the lists; all or none."""
    sweep = await sweeps.submit(session, request, settings, admission, idempotency_key)
    response.headers.update(admission.headers | {"Location": f"/sweeps/{sweep.id}"})
    return sweep


@router.get(
    "/{sweep_id}",
    dependencies=[require("read")],
    responses={
        200: {
            "description": "The state of the sweep, and its table",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/Sweep"}},
                "text/csv": {"schema": {"type": "string"}},
                "text/markdown": {"schema": {"type": "string"}},
            },
        },
        304: {"description": "Unchanged since `If-None-Match`"},
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
    """Returns the states of a sweep's benchmarks, and one table of speedup and memory by batch size.

    The `ETag` changes with the table: send the last one as `If-None-Match` to poll cheaply.
    """
    chosen = sweep_format or choose(accept, MEDIA_TYPES)
    body = RENDERERS[chosen](await sweeps.get(session, sweep_id)).encode()
    headers = {"ETag": strong_etag(body), "Vary": "Accept", "Cache-Control": "no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=MEDIA_TYPES[chosen])
