"""Commands whose packages are not installed: they are listed, and each says which extra it needs."""

from typing import NoReturn

import typer
from rich.markup import escape

from app.cli.shared import fail

#: Commands that need an extra: which, and what the command does.
NEEDING_EXTRAS = {
    "up": ("worker", "Runs the API and its workers."),
    "serve": ("server", "Runs the API."),
    "worker": ("worker", "Runs workers on this machine."),
    "migrate": ("server", "Brings the database to this version's schema."),
    "keys": ("server", "Makes, lists and revokes API keys."),
    "doctor": ("server", "Checks the database, torch and the devices of this machine."),
}

#: Packages of this project: one that is missing is a broken installation, not a missing extra.
OWN_PACKAGES = {"app", "halftime", "worker"}


def offer_with_remedy(cli: typer.Typer, error: ModuleNotFoundError) -> None:
    """Adds a command of each name that ends with the remedy. Raises the error where a package of ours is missing."""
    package = _package(error)
    for name, (extra, summary) in NEEDING_EXTRAS.items():
        _add(cli, name, extra, summary, package)


def need_extra(command: str, extra: str, error: ModuleNotFoundError) -> NoReturn:
    """Ends the command with exit code 2 and the remedy. Raises the error where a package of ours is missing."""
    _end(command, extra, _package(error))


def _package(error: ModuleNotFoundError) -> str:
    if error.name is None or error.name.partition(".")[0] in OWN_PACKAGES:
        raise error
    return error.name


def _end(command: str, extra: str, package: str) -> NoReturn:
    fail(f"{command} needs the extra `{extra}` ({package} is not installed): {_remedy(extra)}", 2)


def _remedy(extra: str) -> str:
    return f"pip install 'halftime[{extra}]'"


def _add(cli: typer.Typer, name: str, extra: str, summary: str, package: str) -> None:
    @cli.command(
        name,
        help=f"{summary} Needs: {escape(_remedy(extra))}",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def missing() -> None:
        _end(f"`halftime {name}`", extra, package)
