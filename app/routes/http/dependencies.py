"""What routes ask for, as types. All of it `async`: FastAPI would send a plain function to a thread."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi import Path as PathParameter
from sqlalchemy.ext.asyncio import AsyncSession

from app.rendering.cache import RenderCache
from app.settings import Settings
from app.store.database.connection import Database
from app.store.notifications import Notifications


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _changes(request: Request) -> Notifications:
    changes: Notifications = request.app.state.changes
    return changes


async def _renderings(request: Request) -> RenderCache:
    renderings: RenderCache = request.app.state.renderings
    return renderings


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    database: Database = request.app.state.database
    async with database.sessions() as session:
        yield session


SettingsDep = Annotated[Settings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
NotificationsDep = Annotated[Notifications, Depends(_changes)]
RenderCacheDep = Annotated[RenderCache, Depends(_renderings)]
#: Given back before the answer is sent.
SessionDep = Annotated[AsyncSession, Depends(_session, scope="function")]
BenchmarkId = Annotated[UUID, PathParameter(description="The benchmark's id, as `POST /benchmarks` gave it")]
