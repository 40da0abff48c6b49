"""Sweeps: many benchmarks in one request, and their one table."""

from collections.abc import Callable
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Response

from app import errors
from app.contract.sweep import Sweep, SweepRequest
from app.reports.sweep_table import to_csv, to_markdown
from app.routes.absence import absence
from app.routes.admission import AdmissionDep
from app.routes.benchmarks import check_size
from app.routes.callers import require
from app.routes.dependencies import SessionDep, SettingsDep
from app.routes.negotiation import choose
from app.routes.shapes import to_sweep
from app.store import sweeps
from app.webhooks import check_webhook

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
    request: SweepRequest, response: Response, session: SessionDep, settings: SettingsDep, admission: AdmissionDep
) -> Sweep:
    """Stores and enqueues a benchmark for every combination of the lists: all of them, or none."""
    wanted = list(request.benchmarks())
    for one in wanted:
        check_size(one, settings)
        check_webhook(one, settings)
    async with session.begin():
        key_id = await admission.admit(len(wanted))
        sweep = await sweeps.submit(session, request, api_key_id=key_id)
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
    sweep_format: Annotated[SweepFormat | None, Query(alias="format", description="overrides `Accept`")] = None,
) -> Response:
    """Gives the states of a sweep's benchmarks and one table: speedup and memory against batch size."""
    chosen = sweep_format or choose(accept, MEDIA_TYPES)
    found = await sweeps.get(session, sweep_id)
    if found is None:
        raise await absence(session, sweep_id, "No sweep has this id.")
    sweep = to_sweep(*found)
    return Response(
        RENDERERS[chosen](sweep),
        media_type=MEDIA_TYPES[chosen],
        headers={"Vary": "Accept", "Cache-Control": "no-cache"},
    )
