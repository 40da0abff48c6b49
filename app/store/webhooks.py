"""Webhook deliveries in the database.

The ID of an attempt's queue entry is a fencing token: an attempt begins, and its outcome is stored, only while the
delivery's row has the token. An attempt that counted as lost and ends later therefore changes nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
import uuid_utils.compat
from sqlalchemy import Select, Text, cast, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.store import queue
from app.store.database.connection import driver_connection
from app.store.database.tables import ENTRIES, BenchmarkRow, WebhookDeliveryRow
from halftime.contract.resources.delivery import DeliveryState

log = structlog.get_logger(__name__)

#: Pauses after the first attempt, the second, and so on; there is one attempt more than pauses.
BACKOFF_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0)

#: Random share of a pause, so that deliveries to one receiver are not repeated at the same time.
JITTER = 0.2

#: An attempt that lasts longer counts as lost with its process.
LEASE = timedelta(seconds=30)

#: An attempt that is overdue by this and has no waiting entry counts as lost with its process.
OVERDUE = timedelta(seconds=10)

#: Rows processed in one transaction.
BATCH = 100


@dataclass(frozen=True)
class Outcome:
    """The outcome of an attempt; without an error, it succeeded."""

    status: int | None = None
    error: str | None = None

    @property
    def is_final(self) -> bool:
        """Whether the receiver refuses further attempts: 410 Gone."""
        return self.status == 410


async def notify(session: AsyncSession, row: BenchmarkRow, event: str) -> None:
    """Creates a delivery and its queue entry in the caller's transaction, if the webhook includes the event."""
    webhook = row.request.get("webhook")
    if webhook is None or event not in webhook["events"]:
        return
    delivery = WebhookDeliveryRow(id=uuid_utils.compat.uuid7(), benchmark_id=row.id, event=event)
    session.add(delivery)
    await _enqueue(session, delivery, pause_seconds=0)


async def begin(
    session: AsyncSession, delivery_id: UUID, entry_id: int
) -> tuple[WebhookDeliveryRow, BenchmarkRow] | None:
    """Starts the attempt of a queue entry; returns None if the entry is outdated."""
    delivery = (await session.scalars(_held(delivery_id, entry_id))).one_or_none()
    if delivery is None:
        return None
    delivery.attempts += 1
    delivery.last_attempt_at = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    delivery.next_attempt_at = delivery.last_attempt_at + LEASE
    return delivery, await session.get_one(BenchmarkRow, delivery.benchmark_id)


async def conclude(session: AsyncSession, delivery_id: UUID, entry_id: int, outcome: Outcome) -> None:
    """Stores the outcome of an attempt, and enqueues the next one if required."""
    delivery = (await session.scalars(_held(delivery_id, entry_id))).one_or_none()
    if delivery is None:
        return
    delivery.last_status, delivery.last_error = outcome.status, outcome.error
    if outcome.error is None:
        _settle(delivery, "delivered")
    elif outcome.is_final or _is_exhausted(delivery):
        _settle(delivery, "given_up")
    else:
        pause_seconds = BACKOFF_SECONDS[delivery.attempts - 1]
        jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 # not for cryptography
        await _enqueue(session, delivery, pause_seconds * jitter)


async def sweep(session: AsyncSession) -> None:
    """Enqueues attempts again that were lost with their process or never began. Safe in many processes at once."""
    waits = exists().where(ENTRIES.c.id == WebhookDeliveryRow.queue_entry_id, cast(ENTRIES.c.status, Text) == "todo")
    overdue = WebhookDeliveryRow.next_attempt_at < func.clock_timestamp() - OVERDUE
    lost = select(WebhookDeliveryRow).where(WebhookDeliveryRow.state == "pending", overdue, ~waits)
    query = lost.order_by(WebhookDeliveryRow.next_attempt_at).limit(BATCH).with_for_update(skip_locked=True)
    for delivery in (await session.scalars(query)).all():
        log.warning("webhook attempt lost", delivery=str(delivery.id), attempt=delivery.attempts)
        if delivery.queue_entry_id is not None:
            await queue.discard(await driver_connection(session), delivery.queue_entry_id)
        if _is_exhausted(delivery):
            delivery.last_status, delivery.last_error = None, "The last attempt was lost with the process that made it."
            _settle(delivery, "given_up")
        else:
            await _enqueue(session, delivery, pause_seconds=0)


async def deliveries(session: AsyncSession, benchmark_id: UUID) -> Sequence[WebhookDeliveryRow]:
    """Returns a benchmark's deliveries, oldest first."""
    query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.benchmark_id == benchmark_id)
    return (await session.scalars(query.order_by(WebhookDeliveryRow.id))).all()


async def locked(session: AsyncSession, benchmark_id: UUID, delivery_id: UUID) -> WebhookDeliveryRow | None:
    """Locks and returns a delivery of a benchmark; None for an unknown one."""
    query = select(WebhookDeliveryRow).where(
        WebhookDeliveryRow.id == delivery_id, WebhookDeliveryRow.benchmark_id == benchmark_id
    )
    return (await session.scalars(query.with_for_update())).one_or_none()


async def replay(session: AsyncSession, delivery: WebhookDeliveryRow) -> None:
    """Sends a locked delivery again immediately, with the full number of attempts. It must not be pending."""
    delivery.attempts = 0
    await _enqueue(session, delivery, pause_seconds=0)


async def _enqueue(session: AsyncSession, delivery: WebhookDeliveryRow, pause_seconds: float) -> None:
    """Creates a queue entry, the token of the next attempt, due after a pause by the database's clock."""
    due = (await session.execute(select(func.clock_timestamp() + timedelta(seconds=pause_seconds)))).scalar_one()
    connection = await driver_connection(session)
    delivery.queue_entry_id = await queue.enqueue_delivery(connection, delivery.id, due)
    delivery.state = "pending"
    delivery.next_attempt_at = due


def _settle(delivery: WebhookDeliveryRow, state: DeliveryState) -> None:
    delivery.state = state
    delivery.queue_entry_id = delivery.next_attempt_at = None


def _is_exhausted(delivery: WebhookDeliveryRow) -> bool:
    return delivery.attempts > len(BACKOFF_SECONDS)


def _held(delivery_id: UUID, entry_id: int) -> Select[WebhookDeliveryRow]:
    query = select(WebhookDeliveryRow).where(
        WebhookDeliveryRow.id == delivery_id,
        WebhookDeliveryRow.queue_entry_id == entry_id,
        WebhookDeliveryRow.state == "pending",
    )
    return query.with_for_update()
