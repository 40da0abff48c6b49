"""Who calls, and what they may do: API keys as FastAPI's security dependencies."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from async_lru import alru_cache
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app import errors
from app.routes.http.csrf import SAFE, require_same_origin
from app.routes.http.trusted_host import require_trusted_host
from app.settings import Settings
from app.store import keys
from halftime.contract.resources.key import IMPLIED, Scope

#: How long an answer about keys is used again, in seconds.
KEYS_REMEMBERED_SECONDS = 1.0

#: Keys of open streams whose answer is remembered.
KEYS_REMEMBERED = 1024

#: What a browser that logged in sends the key in.
COOKIE = "halftime_key"

KEY = re.compile(rf"{keys.PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)

HOW = (
    "Send `Authorization: Bearer <key>`; the command line and the client take the key from HALFTIME_API_KEY. "
    "Whoever runs this server makes one with `halftime keys create NAME`."
)

#: What every guarded route can answer; `include_router` adds it.
REFUSALS = errors.problem_responses(
    errors.UntrustedHost, errors.Unauthenticated, errors.Forbidden, errors.DatabaseUnavailable
)

bearer = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat=f"{keys.PREFIX}…",
    description="A key that `halftime keys create` made. Needed once a key was made, or with HALFTIME_REQUIRE_API_KEY.",
    auto_error=False,
)


@dataclass(frozen=True)
class Caller:
    """Who sent a request. Without an id: anyone, where no key is asked for."""

    key_id: UUID | None
    scopes: frozenset[Scope]
    submits_per_hour: int | None = None


ANONYMOUS = Caller(key_id=None, scopes=IMPLIED["admin"])


class AccessGate:
    """Whether clients need a key, and may stay. Asks the database once a second, not at every request or change."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sessions = sessions
        self.settings = settings
        self._clock = clock
        self._is_open = False
        self._ask_again_at = float("-inf")
        # Of many that ask at once about a key one asks the database; the others wait for its answer.
        self._still_valid = alru_cache(KEYS_REMEMBERED, ttl=KEYS_REMEMBERED_SECONDS)(self._ask_still_valid)

    async def is_open(self) -> bool:
        """Whether anyone may come in."""
        if self.settings.open_without_keys and self._clock() >= self._ask_again_at:
            async with self.sessions() as session:
                self._is_open = not await keys.are_asked_for(session, self.settings)
            self._ask_again_at = self._clock() + KEYS_REMEMBERED_SECONDS
        return self._is_open

    async def may_stay(self, caller: Caller) -> bool:
        """Whether a caller who was let in before may stay: with a key, until it is revoked and that is known here."""
        return caller.key_id is None or await self._still_valid(caller.key_id)

    async def _ask_still_valid(self, key_id: UUID) -> bool:
        async with self.sessions() as session:
            return await keys.still_valid(session, key_id)


def _door(request: Request) -> AccessGate:
    door: AccessGate = request.app.state.door
    return door


AccessGateDep = Annotated[AccessGate, Depends(_door)]


async def _caller(
    request: Request,
    door: AccessGateDep,
    needed: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    if await door.is_open():
        await require_trusted_host(request, door.settings)
        return ANONYMOUS
    key = credentials.credentials if credentials else _key_of_browser(request)
    if key is None:
        raise _unauthenticated("No API key came along.", "Bearer")
    caller = await holder(door.sessions, key)
    for scope in needed.scopes:
        if scope not in caller.scopes:
            raise _forbidden(scope)
    return caller


def require(scope: Scope) -> Any:  # noqa: ANN401 # FastAPI's own marker, whose type is not public
    """The dependency of a route that needs a scope; it gives the Caller. Raises Unauthenticated, Forbidden."""
    return Security(_caller, scopes=[scope])


Reader = Annotated[Caller, require("read")]
Submitter = Annotated[Caller, require("submit")]


def _key_of_browser(request: Request) -> str | None:
    """The key in the cookie. A browser sends that with whatever any page makes it send. Raises Forbidden."""
    key = request.cookies.get(COOKIE)
    if key is not None and request.method not in SAFE:
        require_same_origin(request)
    return key


async def holder(sessions: async_sessionmaker[AsyncSession], key: str) -> Caller:
    """Who holds a key. Raises Unauthenticated for one that does not hold."""
    invalid = 'Bearer error="invalid_token"'
    if not KEY.fullmatch(key):
        raise _unauthenticated(f"This is no API key: one is `{keys.PREFIX}` and 43 characters.", invalid)
    # A transaction of its own: the route begins one when it needs it.
    async with sessions.begin() as session:
        row = await keys.find(session, key)
    if row is None:
        raise _unauthenticated("This API key is not known here.", invalid)
    if row.revoked_at is not None:
        raise _unauthenticated("This API key has been revoked.", invalid)
    allowed = frozenset[Scope]().union(*(implied for scope, implied in IMPLIED.items() if scope in row.scopes))
    return Caller(row.id, allowed, row.submits_per_hour)


def _unauthenticated(reason: str, challenge: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(f"{reason} {HOW}", headers={"WWW-Authenticate": challenge})


def _forbidden(scope: str) -> errors.Forbidden:
    """As RFC 6750 section 3.1 asks."""
    detail = f"This needs the scope `{scope}`, which the API key does not have. Use one that has it."
    return errors.Forbidden(detail, headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'})
