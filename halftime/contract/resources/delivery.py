"""Deliveries of webhooks: what a receiver gets, and what became of it."""

from datetime import datetime
from typing import Literal

from halftime.contract.request.webhook import WebhookEvent
from halftime.contract.resources.benchmark import BenchmarkItem
from halftime.contract.strict import Output

#: pending: it will be tried, or tried again. given_up: every attempt failed, or the receiver answered 410.
DeliveryState = Literal["pending", "delivered", "given_up"]


class WebhookMessage(Output):
    """The body of a webhook, signed as Standard Webhooks says. At least once, in no certain order."""

    type: Literal["benchmark.started", "benchmark.succeeded", "benchmark.failed", "benchmark.cancelled"]
    #: When it happened.
    timestamp: datetime
    #: The benchmark as it stands when the message is sent.
    data: BenchmarkItem


class WebhookDelivery(Output):
    """A message about one event of a benchmark, and how far it came."""

    #: Also the message's `webhook-id`, the same in every attempt: a receiver tells a repetition by it.
    id: str
    event: WebhookEvent
    state: DeliveryState
    created_at: datetime
    #: Since it was made or last replayed, the one under way included.
    attempts: int
    last_attempt_at: datetime | None
    #: What the receiver answered last; null where it did not.
    last_status: int | None
    #: Why the last attempt failed.
    last_error: str | None
    #: While an attempt is under way, when it is taken for lost; null where there will be none.
    next_attempt_at: datetime | None


class WebhookDeliveryPage(Output):
    """A benchmark's deliveries, oldest first."""

    items: list[WebhookDelivery]
