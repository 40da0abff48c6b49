"""The command `migrate`: updates the database schema before other parts of a new version start."""

from typing import TYPE_CHECKING

from app.cli.commands.serving import settings_or_exit
from app.cli.database import NoDatabase, WrongDatabase, in_database
from app.cli.shared import cli, fail, note

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


@cli.command()
def migrate() -> None:
    """Migrates the database to this version's schema. The API and the workers also do this when they start."""
    settings = settings_or_exit()
    try:
        revision = in_database(settings, _revision)
    except WrongDatabase as error:
        fail(str(error), 2)
    except NoDatabase as error:
        fail(f"The database was not migrated: {error}. Check it with `halftime doctor`.", 4)
    note(f"The database has this version's schema, {revision}.")


async def _revision(session: "AsyncSession") -> str:
    from sqlalchemy import text  # noqa: PLC0415 # the other commands start faster without it

    revision: str = (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    return revision
