"""The commands `keys …`: create, list and revoke API keys directly in the database, which needs no running server."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError
from rich.table import Column, Table

from app.cli.commands.serving import settings_or_exit
from app.cli.database import NoDatabase, WrongDatabase, in_database, is_missing
from app.cli.shared import JsonOption, cli, fail, note, out, print_json
from app.reports.text.sanitize import safe_text
from app.settings import Settings
from halftime.contract.resources.key import ApiKey, ApiKeyPage, CreatedKey, NewKey

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from app.store.database.tables import ApiKeyRow

Result = TypeVar("Result")

#: Who has access when no valid key is left.
CLOSED = "all requests are refused until `halftime keys create NAME` creates another."
OPEN = "the API is open to everyone because HALFTIME_ALLOW_ANONYMOUS is true. To close it, set it to false and restart."

#: Hint for a command that opened another database than the service uses.
OTHER_SETTINGS = "A service with other settings, such as a systemd unit or a container, keeps its keys elsewhere."

commands = typer.Typer(no_args_is_help=True, help="Manages API keys: who may use the API, and for what.")
cli.add_typer(commands, name="keys")


@commands.command()
def create(
    name: Annotated[str, typer.Argument(help="who or what uses the key")],
    scope: Annotated[list[str] | None, typer.Option(metavar="read|submit|admin", help="default: submit")] = None,
    submits_per_hour: Annotated[int | None, typer.Option(help="benchmarks per hour; default: no quota")] = None,
    as_json: JsonOption = False,
) -> None:
    """Creates a key and prints it once. `admin` implies `submit`, which implies `read`."""
    from app.store import keys as store  # noqa: PLC0415 # the other commands start faster without it

    settings = settings_or_exit()
    wanted = _wanted(name, scope or ["submit"], submits_per_hour)
    is_new = is_missing(settings)
    row, key = _in_database(settings, lambda session: store.create(session, wanted))
    created = CreatedKey.model_validate(_facts(row) | {"key": key})
    if as_json:
        print_json(created)
    else:
        print(key)
        note(f"Key {created.id} for {name!r} is in {_where(settings)}. It is not shown again.")
    if is_new:
        note(f"There was no database: {_where(settings)} was created for this key. {OTHER_SETTINGS}")


@commands.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """Lists every key ever created, without the keys themselves."""
    from app.store import keys as store  # noqa: PLC0415 # the other commands start faster without it

    settings = settings_or_exit()
    rows = _in_existing_database(settings, store.all_keys)
    page = ApiKeyPage(items=[ApiKey.model_validate(_facts(row)) for row in rows])
    if as_json:
        print_json(page)
        return
    table = Table(
        Column("Key", no_wrap=True, min_width=36),
        "Name",
        "Scopes",
        "Quota",
        "Created",
        "Last used",
        "Revoked",
    )
    for item in page.items:
        quota = "" if item.submits_per_hour is None else str(item.submits_per_hour)
        times = [_minute(item.created_at), _minute(item.last_used_at), _minute(item.revoked_at)]
        table.add_row(item.id, safe_text(item.name), ", ".join(item.scopes), quota, *times)
    out.print(table)
    note(f"In {_where(settings)}.")


@commands.command()
def revoke(key: Annotated[UUID, typer.Argument(help="the key's ID")], as_json: JsonOption = False) -> None:
    """Revokes a key permanently; its benchmarks stay. Repeating the command changes nothing."""
    settings = settings_or_exit()
    row, access = _in_existing_database(settings, lambda session: _revoke(session, key, settings))
    if row is None:
        fail(f"There is no key {key} in {_where(settings)}. List its keys with `halftime keys list`.", 2)
    if access:
        note(f"No valid key is left: {access}")
    if as_json:
        print_json(ApiKey.model_validate(_facts(row)))
    else:
        out.print(safe_text(f"Revoked {row.id} ({row.name})."))


async def _revoke(session: "AsyncSession", key_id: UUID, settings: Settings) -> "tuple[ApiKeyRow | None, str | None]":
    """Returns the key's row and, when no valid key is left, who has access from now on."""
    from app.store import keys as store  # noqa: PLC0415 # the other commands start faster without it

    row = await store.revoke(session, key_id)
    await session.flush()
    if await store.any_valid(session):
        return row, None
    return row, CLOSED if await store.are_asked_for(session, settings) else OPEN


def _wanted(name: str, scopes: list[str], submits_per_hour: int | None) -> NewKey:
    try:
        return NewKey.model_validate({"name": name, "scopes": scopes, "submits_per_hour": submits_per_hour})
    except ValidationError as error:
        fail("\n".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()), 2)


def _in_database(settings: Settings, work: "Callable[[AsyncSession], Awaitable[Result]]") -> Result:
    """Runs `work` in one transaction and returns its result. Ends the command when the database cannot be used."""
    try:
        return in_database(settings, work)
    except WrongDatabase as error:
        fail(str(error), 2)
    except NoDatabase as error:
        fail(f"No answer from {_where(settings)} ({error}). Check it with `halftime doctor`.", 4)


def _in_existing_database(settings: Settings, work: "Callable[[AsyncSession], Awaitable[Result]]") -> Result:
    """Runs `work` like `_in_database`, but never creates the database: only the first key may do that."""
    if is_missing(settings):
        fail(f"No database in {settings.data_dir}, and HALFTIME_DATABASE_URL is not set. {OTHER_SETTINGS}", 2)
    return _in_database(settings, work)


def _where(settings: Settings) -> str:
    from app.store.database.connection import place  # noqa: PLC0415 # the other commands start faster without it

    return f"the database {place(settings)}"


def _facts(row: "ApiKeyRow") -> dict[str, object]:
    return {
        "id": str(row.id),
        "name": row.name,
        "scopes": row.scopes,
        "submits_per_hour": row.submits_per_hour,
        "created_at": row.created_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
