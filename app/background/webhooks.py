"""Sends webhooks: signed, only to hosts that an operator allows, without redirects, with a timeout."""

from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

import anyio
import httpx
import stamina
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from standardwebhooks import Webhook

from app.settings import Settings
from app.store import webhooks
from app.store.database.tables import BenchmarkRow, WebhookDeliveryRow
from app.store.resources import to_item
from app.store.webhooks import Outcome
from halftime import __version__
from halftime.contract.resources.delivery import WebhookMessage

#: Timeout of an attempt, from the DNS lookup to the status of the response.
TIMEOUT_SECONDS = 10.0

#: Longest stored error message.
ERROR_CHARACTERS = 300

#: Seconds for which storing an outcome is retried while the database is unavailable; less than the attempt's lease.
STORE_TIMEOUT_SECONDS = 15.0


def refusal_of(url: str, settings: Settings) -> str | None:
    """Returns why this server sends no webhook to a URL, with the remedy; None where it may."""
    if not settings.webhook_allowed_hosts:
        return "This server sends no webhooks. An operator can allow hosts in HALFTIME_WEBHOOK_ALLOWED_HOSTS."
    if settings.webhook_secret is None:
        return "This server cannot sign webhooks. An operator must set HALFTIME_WEBHOOK_SECRET."
    if not _is_allowed(url, settings.webhook_allowed_hosts):
        return "The URL's host is not in HALFTIME_WEBHOOK_ALLOWED_HOSTS. Use one that is, or ask an operator to add it."
    return None


class Sender:
    """Makes attempts to deliver messages. Must be closed after the last one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._used = False

    @cached_property
    def _http(self) -> httpx.AsyncClient:
        """Created on first use: its certificates take memory, and most servers send no webhooks."""
        self._used = True
        return httpx.AsyncClient(follow_redirects=False, timeout=TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Closes the connections."""
        if self._used:
            await self._http.aclose()

    async def send(self, url: str, message_id: str, body: str) -> Outcome:
        """Makes one attempt. Reads only the status of the response: clients must not see what a receiver returns."""
        refusal = refusal_of(url, self._settings)
        if refusal is not None:
            return Outcome(error=refusal)
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                async with self._http.stream(
                    "POST", url, content=body, headers=self._headers(message_id, body)
                ) as response:
                    return Outcome(response.status_code, _fault(response))
        except TimeoutError:
            return Outcome(error=f"No response within {TIMEOUT_SECONDS:g} s.")
        except httpx.HTTPError as error:
            return Outcome(error=f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS])

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        """Returns the headers of Standard Webhooks; the signature covers id, time of this attempt, and body."""
        secret = self._settings.webhook_secret
        assert secret is not None  # refusal_of checked it
        now = datetime.now(UTC)
        return {
            "Content-Type": "application/json",
            "User-Agent": f"halftime/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret.get_secret_value()).sign(message_id, now, body),
        }


async def deliver(sessions: async_sessionmaker[AsyncSession], sender: Sender, delivery_id: UUID, entry_id: int) -> None:
    """Makes the attempt of a queue entry; does nothing where a newer entry has replaced it."""
    async with sessions.begin() as session:
        started = await webhooks.begin(session, delivery_id, entry_id)
    if started is None:
        return
    delivery, benchmark = started
    body = _message(delivery, benchmark).model_dump_json()
    outcome = await sender.send(benchmark.request["webhook"]["url"], str(delivery_id), body)
    await _store_outcome(sessions, delivery_id, entry_id, outcome)


@stamina.retry(on=SQLAlchemyError, attempts=None, timeout=STORE_TIMEOUT_SECONDS, wait_max=1.0)
async def _store_outcome(
    sessions: async_sessionmaker[AsyncSession], delivery_id: UUID, entry_id: int, outcome: Outcome
) -> None:
    """Stores an outcome, with retries while the database is unavailable: otherwise the message would be sent twice."""
    async with sessions.begin() as session:
        await webhooks.conclude(session, delivery_id, entry_id, outcome)


def _message(delivery: WebhookDeliveryRow, benchmark: BenchmarkRow) -> WebhookMessage:
    return WebhookMessage.model_validate(
        {"type": f"benchmark.{delivery.event}", "timestamp": delivery.created_at, "data": to_item(benchmark)}
    )


def _fault(response: httpx.Response) -> str | None:
    if response.is_success:
        return None
    hint = " Redirects are not followed: give the final URL." if response.is_redirect else ""
    return f"The receiver answered {response.status_code}.{hint}"


def _is_allowed(url: str, allowed_hosts: tuple[str, ...]) -> bool:
    """Returns whether the URL's host, as the HTTP client parses it, is allowed."""
    try:
        host = httpx.URL(url).raw_host.decode("ascii")
    except httpx.InvalidURL:
        return False
    return any(
        host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])) for pattern in allowed_hosts
    )
