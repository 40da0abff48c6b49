"""Deliveries of a benchmark's webhook: what became of them, and sending one again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from app import errors
from app.background.webhooks import check_webhook
from app.routes.http.auth import require
from app.routes.http.dependencies import BenchmarkId, SessionDep, SettingsDep
from app.routes.http.not_found import not_found
from app.store import benchmarks, webhooks
from app.store.database.tables import WebhookDeliveryRow
from halftime.contract.request.request import stored_request
from halftime.contract.resources.delivery import WebhookDelivery, WebhookDeliveryPage, WebhookMessage

router = APIRouter(prefix="/benchmarks/{benchmark_id}/webhook-deliveries", tags=["webhooks"])

#: What receivers get, for the OpenAPI document.
messages = APIRouter(tags=["webhooks"])

UNKNOWN_DELIVERY = "The benchmark has no delivery of this id."

DeliveryId = Annotated[UUID, Path(description="The delivery's id, which is also its `webhook-id`")]


@router.get(
    "",
    dependencies=[require("read")],
    responses=errors.problem_responses(errors.NotFound, errors.Purged, errors.Invalid, errors.DatabaseUnavailable),
)
async def list_deliveries(benchmark_id: BenchmarkId, session: SessionDep) -> WebhookDeliveryPage:
    """Lists what was or will be sent to the benchmark's webhook, oldest first, with how far each came."""
    if await benchmarks.get(session, benchmark_id) is None:
        raise await not_found(session, benchmark_id)
    return WebhookDeliveryPage(items=[_to_delivery(row) for row in await webhooks.deliveries(session, benchmark_id)])


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
    """Sends a message again that was delivered or given up: same `webhook-id`, all attempts anew."""
    async with session.begin():
        row = await benchmarks.get(session, benchmark_id)
        if row is None:
            raise await not_found(session, benchmark_id)
        delivery = await webhooks.locked(session, benchmark_id, delivery_id)
        if delivery is None:
            raise errors.NotFound(UNKNOWN_DELIVERY)
        if delivery.state == "pending":
            raise errors.DeliveryPending("It is on its way already; `next_attempt_at` says when it is tried next.")
        check_webhook(stored_request(row.request), settings)
        await webhooks.replay(session, delivery)
    return _to_delivery(delivery)


@messages.post(
    "benchmark",
    status_code=204,
    responses={
        "2XX": {"description": "Taken; nothing of the body is read"},
        "410": {"description": "Not wanted any more: it is not sent again"},
        "default": {"description": "Not taken: it is sent again later"},
    },
)
def on_benchmark_event(message: WebhookMessage) -> None:
    """Sent to `webhook.url` for each of `webhook.events`, with the headers of Standard Webhooks."""


def _to_delivery(row: WebhookDeliveryRow) -> WebhookDelivery:
    return WebhookDelivery.model_validate(
        {name: getattr(row, name) for name in WebhookDelivery.model_fields} | {"id": str(row.id)}
    )
