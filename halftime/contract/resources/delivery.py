"""Webhook deliveries: the message for a receiver, and the state of its delivery."""

from datetime import datetime
from typing import Literal

from halftime.contract.request.webhook import WebhookEvent
from halftime.contract.resources.benchmark import BenchmarkItem
from halftime.contract.strict import Output

#: pending: an attempt is under way or will be made. given_up: every attempt failed, or the receiver answered 410.
DeliveryState = Literal["pending", "delivered", "given_up"]


class WebhookMessage(Output):
    """The body of a webhook, signed per Standard Webhooks. Delivered at least once, in no guaranteed order."""

    type: Literal["benchmark.started", "benchmark.succeeded", "benchmark.failed", "benchmark.cancelled"]
    #: Time of the event.
    timestamp: datetime
    #: The benchmark at the time the message is sent.
    data: BenchmarkItem


class WebhookDelivery(Output):
    """A message about one event of a benchmark, and the state of its delivery."""

    #: Also the message's `webhook-id`, the same in every attempt, by which a receiver recognises repetitions.
    id: str
    event: WebhookEvent
    state: DeliveryState
    created_at: datetime
    #: Attempts since it was created or last replayed, including the one under way.
    attempts: int
    last_attempt_at: datetime | None
    #: HTTP status of the receiver's last answer; null if it did not answer.
    last_status: int | None
    #: Why the last attempt failed.
    last_error: str | None
    #: Time of the next attempt; during an attempt, the time after which it counts as lost; null if none will follow.
    next_attempt_at: datetime | None


class WebhookDeliveryPage(Output):
    """A benchmark's deliveries, oldest first."""

    items: list[WebhookDelivery]
