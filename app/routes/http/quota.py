"""Whether a submit is let in: the queue's limit, and the quota of the key."""

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from app import errors
from app.routes.http.auth import Caller, Submitter
from app.routes.http.dependencies import SessionDep, SettingsDep
from app.settings import Settings
from app.store import benchmarks, keys

#: Seconds after which a full queue may have room.
QUEUE_RETRY_AFTER = "60"


@dataclass
class Admission:
    """One request to submit. `headers`, for the answer, say what is left of a quota once it was admitted."""

    caller: Caller
    session: AsyncSession
    settings: Settings
    headers: dict[str, str] = field(init=False, default_factory=dict)

    @property
    def owner_id(self) -> UUID | None:
        """Whose idempotency keys are looked at."""
        return self.caller.key_id

    async def admit(self, count: int) -> UUID | None:
        """Lets `count` more benchmarks in, all or none; gives the id of the key to record with them.

        To be awaited in the transaction that stores them. Parallel submits may overrun the queue's limit by their
        number, a quota never. Raises QueueFull, QuotaExceeded.
        """
        await self._check_queue(count)
        if self.caller.key_id is not None and self.caller.submits_per_hour is not None:
            await self._check_quota(self.caller.key_id, self.caller.submits_per_hour, count)
        return self.caller.key_id

    async def _check_queue(self, count: int) -> None:
        limit = self.settings.max_queued
        if await benchmarks.queued(self.session, limit) + count > limit:
            detail = (
                f"{count} more would make more than the {limit} benchmarks that may wait here (HALFTIME_MAX_QUEUED). "
                "Try again when some have run."
            )
            raise errors.QueueFull(detail, headers={"Retry-After": QUEUE_RETRY_AFTER})

    async def _check_quota(self, key_id: UUID, quota: int, count: int) -> None:
        used = await keys.submitted_lately(self.session, key_id)
        over = used + count - quota
        next_room = await keys.room_in(self.session, key_id, 1)
        if over <= 0:
            await keys.count_submits(self.session, key_id, count)
            self.headers = _rate_limit(quota, -over, next_room)
            return
        wait_seconds = _seconds(await keys.room_in(self.session, key_id, over))
        remedy = "Submit fewer at a time." if count > quota else f"Try again in {wait_seconds} s."
        raise errors.QuotaExceeded(
            f"This API key may submit {quota} benchmarks an hour. It submitted {used}; this is {count} more. {remedy}",
            headers=_rate_limit(quota, max(0, quota - used), next_room) | {"Retry-After": str(wait_seconds)},
        )


async def _admission(caller: Submitter, session: SessionDep, settings: SettingsDep) -> Admission:
    return Admission(caller, session, settings)


AdmissionDep = Annotated[Admission, Depends(_admission)]


def _rate_limit(quota: int, remaining: int, next_room: timedelta) -> dict[str, str]:
    """As draft-ietf-httpapi-ratelimit-headers-08 writes it; `t` seconds on, the first of those counted no longer is."""
    return {
        "RateLimit-Policy": f'"submits";q={quota};w={_seconds(keys.WINDOW)}',
        "RateLimit": f'"submits";r={remaining};t={_seconds(next_room)}',
    }


def _seconds(duration: timedelta) -> int:
    return max(1, math.ceil(duration.total_seconds()))
