"""Access to the database for commands that use it directly; imports it lazily, so that other commands start faster."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from app.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

Result = TypeVar("Result")


class NoDatabase(Exception):
    """The database URL is wrong, or the server does not answer or does not start."""


class WrongDatabase(NoDatabase):
    """One that another version of Halftime made, and this one cannot use."""


def is_missing(settings: Settings) -> bool:
    """Whether the embedded database does not exist yet; the first process that opens it creates it."""
    from app.store.database.embedded import was_made  # noqa: PLC0415

    return settings.database_url is None and not was_made(settings.data_dir)


def in_database(settings: Settings, work: "Callable[[AsyncSession], Awaitable[Result]]") -> Result:
    """Runs `work` in one transaction and returns its result. Raises NoDatabase, WrongDatabase."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from app.store.database.connection import open_database  # noqa: PLC0415
    from app.store.database.migrate import UnknownSchema  # noqa: PLC0415

    async def run() -> Result:
        async with open_database(settings, pool_size=1) as database, database.sessions.begin() as session:
            return await work(session)

    try:
        return asyncio.run(run())
    except UnknownSchema as error:
        raise WrongDatabase(str(error)) from error
    except (SQLAlchemyError, ValueError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise NoDatabase(str(error).split("\n", maxsplit=1)[0]) from error
