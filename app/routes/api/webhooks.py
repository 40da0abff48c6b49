"""`/benchmarks/{id}/webhook-deliveries`: deliveries of a benchmark's webhook, and their replay."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from app import errors
from app.routes.http.auth import require
from app.routes.http.dependencies import BenchmarkId, SessionDep, SettingsDep
from app.routes.use_cases import deliveries
from app.store.database.tables import WebhookDeliveryRow
from halftime.contract.resources.delivery import WebhookDelivery, WebhookDeliveryPage, WebhookMessage

router = APIRouter(prefix="/benchmarks/{benchmark_id}/webhook-deliveries", tags=["webhooks"])

#: The message that receivers get, for the OpenAPI document.
messages = APIRouter(tags=["webhooks"])

DeliveryId = Annotated[UUID, Path(description="The delivery's id, which is also its `webhook-id`")]


@router.get(
    "",
    dependencies=[require("read")],
    responses=errors.problem_responses(errors.NotFound, errors.Purged, errors.Invalid, errors.DatabaseUnavailable),
)
async def list_deliveries(benchmark_id: BenchmarkId, session: SessionDep) -> WebhookDeliveryPage:
    """Lists the deliveries of the benchmark's webhook, oldest first, with the state of each."""
    rows = await deliveries.list_deliveries(session, benchmark_id)
    return WebhookDeliveryPage(items=[_to_delivery(row) for row in rows])


@router.post(
    "/{delivery_id}/replay",
    status_code=202,
    dependencies=[require("submit")],
    responses=errors.problem_responses(
        errors.NotFound, errors.Purged, errors.DeliveryPending, errors.Invalid, errors.DatabaseUnavailable
    ),
)
async def replay_delivery(
    benchmark_id: BenchmarkId, delivery_id: DeliveryId, session: SessionDep, settings: SettingsDep
) -> WebhookDelivery:
    """Sends a delivered or given-up message again, with the same `webhook-id` and all attempts."""
    return _to_delivery(await deliveries.replay(session, benchmark_id, delivery_id, settings))


@messages.post(
    "benchmark",
    status_code=204,
    responses={
        "2XX": {"description": "Accepted; the response body is not read"},
        "410": {"description": "No longer wanted: the message is not sent again"},
        "default": {"description": "Not accepted: the message is sent again later"},
    },
)
def on_benchmark_event(message: WebhookMessage) -> None:
    """Sent to `webhook.url` for each of `webhook.events`, with the headers of Standard Webhooks."""


def _to_delivery(row: WebhookDeliveryRow) -> WebhookDelivery:
    return WebhookDelivery.model_validate(
        {name: getattr(row, name) for name in WebhookDelivery.model_fields} | {"id": str(row.id)}
    )
