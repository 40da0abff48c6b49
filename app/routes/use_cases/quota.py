"""Admission of new benchmarks: the queue's limit, and the quota of the API key."""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.settings import Settings
from app.store import benchmarks, keys

#: Seconds after which a full queue may have room.
QUEUE_RETRY_AFTER = "60"


@dataclass
class Admission:
    """Admits the benchmarks of one submit. Once admitted, `headers` state what is left of the key's quota."""

    session: AsyncSession
    settings: Settings
    #: The API key that submits; None where the server asks for none.
    key_id: UUID | None
    #: The quota of the key; None for no limit.
    submits_per_hour: int | None
    headers: dict[str, str] = field(init=False, default_factory=dict)

    @property
    def owner_id(self) -> UUID | None:
        """The API key whose idempotency keys are looked up."""
        return self.key_id

    async def admit(self, count: int) -> UUID | None:
        """Admits `count` more benchmarks, all or none; returns the id of the API key to store with them.

        Must be awaited in the transaction that stores them. Parallel submits may exceed the queue's limit by their
        number, but never a quota. Raises QueueFull, QuotaExceeded.
        """
        await self._check_queue(count)
        if self.key_id is not None and self.submits_per_hour is not None:
            await self._check_quota(self.key_id, self.submits_per_hour, count)
        return self.key_id

    async def _check_queue(self, count: int) -> None:
        limit = self.settings.max_queued
        if await benchmarks.queued(self.session, limit) + count > limit:
            detail = (
                f"{count} more would exceed the {limit} benchmarks that may be queued (HALFTIME_MAX_QUEUED). "
                "Try again when some of them have run."
            )
            raise errors.QueueFull(detail, headers={"Retry-After": QUEUE_RETRY_AFTER})

    async def _check_quota(self, key_id: UUID, quota: int, count: int) -> None:
        used = await keys.submitted_lately(self.session, key_id)
        excess = used + count - quota
        next_room = await keys.room_in(self.session, key_id, 1)
        if excess <= 0:
            await keys.count_submits(self.session, key_id, count)
            self.headers = _rate_limit(quota, -excess, next_room)
            return
        wait_seconds = _seconds(await keys.room_in(self.session, key_id, excess))
        remedy = "Submit fewer at a time." if count > quota else f"Try again in {wait_seconds} s."
        raise errors.QuotaExceeded(
            f"This API key may submit {quota} benchmarks per hour. It has submitted {used}, and this request would "
            f"submit {count} more. {remedy}",
            headers=_rate_limit(quota, max(0, quota - used), next_room) | {"Retry-After": str(wait_seconds)},
        )


def _rate_limit(quota: int, remaining: int, next_room: timedelta) -> dict[str, str]:
    """Formats the headers of draft-ietf-httpapi-ratelimit-headers-08; after `t` seconds the quota has room again."""
    return {
        "RateLimit-Policy": f'"submits";q={quota};w={_seconds(keys.WINDOW)}',
        "RateLimit": f'"submits";r={remaining};t={_seconds(next_room)}',
    }


def _seconds(duration: timedelta) -> int:
    return max(1, math.ceil(duration.total_seconds()))
