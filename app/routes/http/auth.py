"""Authentication and authorization: API keys as security dependencies of FastAPI."""

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

#: Seconds for which the validity of keys is cached.
KEYS_REMEMBERED_SECONDS = 1.0

#: Most keys of open streams whose validity is cached.
KEYS_REMEMBERED = 1024

#: Cookie in which a logged-in browser sends the key.
COOKIE = "halftime_key"

KEY = re.compile(rf"{keys.PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)

REMEDY = (
    "Send `Authorization: Bearer <key>`; the command line and the client read the key from HALFTIME_API_KEY. "
    "An operator of this server creates keys with `halftime keys create NAME`."
)

#: Problem responses of every guarded route; `include_router` adds them.
REFUSALS = errors.problem_responses(
    errors.UntrustedHost, errors.Unauthenticated, errors.Forbidden, errors.DatabaseUnavailable
)

bearer = HTTPBearer(
    scheme_name="ApiKey",
    bearerFormat=f"{keys.PREFIX}…",
    description="A key from `halftime keys create`. Required once a key exists, or with HALFTIME_REQUIRE_API_KEY.",
    auto_error=False,
)


@dataclass(frozen=True)
class Caller:
    """The sender of a request. `key_id` is None where the server asks for no key."""

    key_id: UUID | None
    scopes: frozenset[Scope]
    submits_per_hour: int | None = None


ANONYMOUS = Caller(key_id=None, scopes=IMPLIED["admin"])


class AccessGate:
    """Decides whether clients need a key, and whether theirs is still valid; queries the database once a second."""

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
        self._expires_at = float("-inf")
        # Concurrent calls for one key share one query.
        self._still_valid = alru_cache(KEYS_REMEMBERED, ttl=KEYS_REMEMBERED_SECONDS)(self._query_still_valid)

    async def is_open(self) -> bool:
        """Returns whether the server accepts requests without a key."""
        if self.settings.open_without_keys and self._clock() >= self._expires_at:
            async with self.sessions() as session:
                self._is_open = not await keys.are_asked_for(session, self.settings)
            self._expires_at = self._clock() + KEYS_REMEMBERED_SECONDS
        return self._is_open

    async def is_still_valid(self, caller: Caller) -> bool:
        """Returns whether an authenticated caller may continue: False once its key is known to be revoked."""
        return caller.key_id is None or await self._still_valid(caller.key_id)

    async def _query_still_valid(self, key_id: UUID) -> bool:
        async with self.sessions() as session:
            return await keys.still_valid(session, key_id)


def _gate(request: Request) -> AccessGate:
    gate: AccessGate = request.app.state.access_gate
    return gate


AccessGateDep = Annotated[AccessGate, Depends(_gate)]


async def _caller(
    request: Request,
    gate: AccessGateDep,
    needed: SecurityScopes,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> Caller:
    if await gate.is_open():
        await require_trusted_host(request, gate.settings)
        return ANONYMOUS
    key = credentials.credentials if credentials else _key_in_cookie(request)
    if key is None:
        raise _unauthenticated("Missing API key.", "Bearer")
    caller = await authenticate(gate.sessions, key)
    for scope in needed.scopes:
        if scope not in caller.scopes:
            raise _forbidden(scope)
    return caller


def require(scope: Scope) -> Any:  # noqa: ANN401 # FastAPI's own marker, whose type is not public
    """Returns the dependency of a route that needs a scope: the Caller. Raises Unauthenticated, Forbidden."""
    return Security(_caller, scopes=[scope])


Reader = Annotated[Caller, require("read")]
Submitter = Annotated[Caller, require("submit")]


def _key_in_cookie(request: Request) -> str | None:
    """Returns the key in the cookie. Raises CrossSite where a page of another site may have caused the request."""
    key = request.cookies.get(COOKIE)
    if key is not None and request.method not in SAFE:
        require_same_origin(request)
    return key


async def authenticate(sessions: async_sessionmaker[AsyncSession], key: str) -> Caller:
    """Returns the caller of an API key. Raises Unauthenticated for an invalid, unknown or revoked key."""
    invalid = 'Bearer error="invalid_token"'
    if not KEY.fullmatch(key):
        raise _unauthenticated(f"Malformed API key: a key is `{keys.PREFIX}` followed by 43 characters.", invalid)
    # Uses its own session, so that the route can begin a transaction on the request's session.
    async with sessions.begin() as session:
        row = await keys.find(session, key)
    if row is None:
        raise _unauthenticated("Unknown API key.", invalid)
    if row.revoked_at is not None:
        raise _unauthenticated("This API key was revoked.", invalid)
    allowed = frozenset[Scope]().union(*(implied for scope, implied in IMPLIED.items() if scope in row.scopes))
    return Caller(row.id, allowed, row.submits_per_hour)


def _unauthenticated(reason: str, challenge: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(f"{reason} {REMEDY}", headers={"WWW-Authenticate": challenge})


def _forbidden(scope: str) -> errors.Forbidden:
    """Returns the error for a missing scope, with the challenge of RFC 6750, section 3.1."""
    detail = f"The API key does not have the required scope `{scope}`. Use a key that has it."
    return errors.Forbidden(detail, headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'})
