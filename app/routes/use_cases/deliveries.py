"""Deliveries of a benchmark's webhook: list and replay."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.routes.use_cases import benchmarks
from app.routes.use_cases.limits import check_webhook
from app.settings import Settings
from app.store import webhooks
from app.store.database.tables import WebhookDeliveryRow
from halftime.contract.request.request import stored_request

UNKNOWN_DELIVERY = (
    "The benchmark has no delivery with this id. `GET /benchmarks/{id}/webhook-deliveries` lists its deliveries."
)


async def list_deliveries(session: AsyncSession, benchmark_id: UUID) -> Sequence[WebhookDeliveryRow]:
    """Returns a benchmark's deliveries, oldest first. Raises NotFound, Purged."""
    await benchmarks.get(session, benchmark_id)
    return await webhooks.deliveries(session, benchmark_id)


async def replay(
    session: AsyncSession, benchmark_id: UUID, delivery_id: UUID, settings: Settings
) -> WebhookDeliveryRow:
    """Sends a delivered or given-up message again. Raises NotFound, Purged, DeliveryPending, WebhookRefused."""
    async with session.begin():
        row = await benchmarks.get(session, benchmark_id)
        delivery = await webhooks.locked(session, benchmark_id, delivery_id)
        if delivery is None:
            raise errors.NotFound(UNKNOWN_DELIVERY)
        if delivery.state == "pending":
            raise errors.DeliveryPending(
                "The message is still being delivered. Wait for the next attempt: `next_attempt_at` says when."
            )
        check_webhook(stored_request(row.request), settings)
        await webhooks.replay(session, delivery)
    return delivery
