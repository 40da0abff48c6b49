"""Parameters of routes, as annotated types. All are `async`, because FastAPI runs plain functions in threads."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Request
from fastapi import Path as PathParameter
from sqlalchemy.ext.asyncio import AsyncSession

from app.rendering.cache import RenderCache
from app.routes.http.auth import Submitter
from app.routes.use_cases.quota import Admission
from app.settings import Settings
from app.store.database.connection import Database
from app.store.notifications import Notifications


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _notifications(request: Request) -> Notifications:
    notifications: Notifications = request.app.state.notifications
    return notifications


async def _render_cache(request: Request) -> RenderCache:
    render_cache: RenderCache = request.app.state.render_cache
    return render_cache


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    database: Database = request.app.state.database
    async with database.sessions() as session:
        yield session


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
NotificationsDep = Annotated[Notifications, Depends(_notifications)]
RenderCacheDep = Annotated[RenderCache, Depends(_render_cache)]
#: Closed before the response is sent.
SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]


async def _admission(caller: Submitter, session: SessionDep, settings: SettingsDep) -> Admission:
    return Admission(session, settings, caller.key_id, caller.submits_per_hour)


#: Requires the scope `submit`.
AdmissionDep = Annotated[Admission, Depends(_admission)]

BenchmarkId = Annotated[UUID, PathParameter(description="The benchmark's id, as `POST /benchmarks` returned it")]
SweepId = Annotated[UUID, PathParameter(description="The sweep's id, as `POST /sweeps` returned it")]
WorkerId = Annotated[
    str, PathParameter(max_length=255, pattern=r"^[^/\x00]+$", description="As `GET /workers` lists it")
]

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]+$",
        max_length=255,
        description="Makes the submit safe to repeat, such as a new UUID: the same key with the same request is "
        "submitted once",
    ),
]
