"""Sends webhooks: signed, to hosts that the operator allows, redirected nowhere, bounded in time and size."""

from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

import anyio
import httpx
import stamina
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from standardwebhooks import Webhook

from app.errors import WebhookRefused
from app.settings import Settings
from app.store import webhooks
from app.store.database.tables import BenchmarkRow, WebhookDeliveryRow
from app.store.resources import to_item
from app.store.webhooks import Outcome
from halftime import __version__
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.delivery import WebhookMessage
from halftime.contract.resources.problem import FieldError

#: From looking up the host to the status of the answer.
TIMEOUT_SECONDS = 10.0

#: What is kept of an error.
ERROR_CHARACTERS = 300

#: How long an outcome waits for a database that is away; within the attempt's lease.
PATIENCE_SECONDS = 15.0


def check_webhook(request: BenchmarkRequest, settings: Settings) -> None:
    """Raises WebhookRefused for a webhook that could not be sent as this server is set up."""
    if request.webhook is None:
        return
    refusal = refusal_of(str(request.webhook.url), settings)
    if refusal is not None:
        raise WebhookRefused(refusal, [FieldError(loc="/webhook/url", msg="not allowed", type="webhook_refused")])


def refusal_of(url: str, settings: Settings) -> str | None:
    """Why nothing is sent to a URL, and what would change that; None where it may be sent to."""
    if not settings.webhook_allowed_hosts:
        return "This server sends no webhooks. An operator may allow hosts in HALFTIME_WEBHOOK_ALLOWED_HOSTS."
    if settings.webhook_secret is None:
        return "This server cannot sign webhooks. An operator must set HALFTIME_WEBHOOK_SECRET."
    if not _is_allowed(url, settings.webhook_allowed_hosts):
        return "The URL's host is not among HALFTIME_WEBHOOK_ALLOWED_HOSTS. Use one that is, or ask an operator."
    return None


class Sender:
    """Makes single attempts. Close it after the last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._used = False

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        """Made on first use: its certificates take memory, and most servers send no webhooks."""
        self._used = True
        return httpx.AsyncClient(follow_redirects=False, timeout=TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Closes its connections."""
        if self._used:
            await self._http.aclose()

    async def send(self, url: str, message_id: str, body: str) -> Outcome:
        """One attempt. Of the answer only the status is read: what a receiver says is none of a client's business."""
        refusal = refusal_of(url, self._settings)
        if refusal is not None:
            return Outcome(error=refusal)
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                async with self._http.stream(
                    "POST", url, content=body, headers=self._headers(message_id, body)
                ) as answer:
                    return Outcome(answer.status_code, _fault(answer))
        except TimeoutError:
            return Outcome(error=f"No answer within {TIMEOUT_SECONDS:g} s.")
        except httpx.HTTPError as error:
            return Outcome(error=f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS])

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        """Standard Webhooks: what is signed is the id, the time of this attempt, and the body."""
        secret = self._settings.webhook_secret
        assert secret is not None  # or it would have been refused
        now = datetime.now(UTC)
        return {
            "Content-Type": "application/json",
            "User-Agent": f"halftime/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret.get_secret_value()).sign(message_id, now, body),
        }


async def deliver(sessions: async_sessionmaker[AsyncSession], sender: Sender, delivery_id: UUID, entry_id: int) -> None:
    """Makes the attempt that a queue entry stands for; nothing, if another entry counts by now."""
    async with sessions.begin() as session:
        begun = await webhooks.begin(session, delivery_id, entry_id)
    if begun is None:
        return
    delivery, benchmark = begun
    body = _message(delivery, benchmark).model_dump_json()
    outcome = await sender.send(benchmark.request["webhook"]["url"], str(delivery_id), body)
    await _conclude(sessions, delivery_id, entry_id, outcome)


@stamina.retry(on=SQLAlchemyError, attempts=None, timeout=PATIENCE_SECONDS, wait_max=1.0)
async def _conclude(
    sessions: async_sessionmaker[AsyncSession], delivery_id: UUID, entry_id: int, outcome: Outcome
) -> None:
    """Tried again while the database is away: an outcome that is not written down is a message sent twice."""
    async with sessions.begin() as session:
        await webhooks.conclude(session, delivery_id, entry_id, outcome)


def _message(delivery: WebhookDeliveryRow, benchmark: BenchmarkRow) -> WebhookMessage:
    return WebhookMessage.model_validate(
        {"type": f"benchmark.{delivery.event}", "timestamp": delivery.created_at, "data": to_item(benchmark)}
    )


def _fault(answer: httpx.Response) -> str | None:
    if answer.is_success:
        return None
    hint = " Redirects are not followed: give the final URL." if answer.is_redirect else ""
    return f"The receiver answered {answer.status_code}.{hint}"


def _is_allowed(url: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Of the host that would be connected to, as the client that connects reads it."""
    try:
        host = httpx.URL(url).raw_host.decode("ascii")
    except httpx.InvalidURL:
        return False
    return any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in allowed_hosts)
