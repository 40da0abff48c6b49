"""Parts shared by all commands: the typer application, options, consoles, and one-line errors."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated, NoReturn

import stamina
import typer
from pydantic import BaseModel
from rich.console import Console

from app.cli.completion import benchmark_ids
from app.reports.text.sanitize import sanitize
from halftime import __version__
from halftime.client import DEFAULT_SERVER, Client, ClientError, ProblemError, TransportError

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Halftime: is mixed-precision training worth it for this model on this GPU?",
)

#: In a file or a pipe, lines are wide enough for an ID and its figures.
out = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True)

#: The other commands use the port that is set for `serve`.
SERVER = f"http://127.0.0.1:{os.environ['HALFTIME_PORT']}" if "HALFTIME_PORT" in os.environ else DEFAULT_SERVER

ServerOption = Annotated[str, typer.Option("--server", envvar="HALFTIME_SERVER", help="the API's address")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
BenchmarkArgument = Annotated[str, typer.Argument(help="the benchmark's ID", autocompletion=benchmark_ids)]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"halftime {__version__}")
        raise typer.Exit


@cli.callback()
def halftime(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Halftime: is mixed-precision training worth it for this model on this GPU?"""


def fail(message: str, exit_code: int) -> NoReturn:
    """Ends the command with a message on standard error."""
    err.print(sanitize(message), style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(exit_code)


def note(message: str) -> None:
    """Prints a message on standard error, apart from the command's output."""
    err.print(sanitize(message), markup=False, highlight=False, soft_wrap=True)


def print_json(model: BaseModel) -> None:
    """Prints a model as indented JSON."""
    typer.echo(model.model_dump_json(indent=2))


@contextlib.contextmanager
def connected(server: str, *, api_key: str | None = None, retries: int = 2) -> Iterator[Client]:
    """Yields a client whose errors end the command: 2 for a refused request, 4 for a server that does not answer.

    The API key is HALFTIME_API_KEY unless one is given. There are few retries because the user waits.
    """
    try:
        client = Client(server, api_key=api_key, retries=retries)
    except ValueError as error:
        fail(str(error), 2)
    stamina.instrumentation.set_on_retry_hooks([_note_retry])
    try:
        with client:
            yield client
    except TransportError as error:
        fail(f"No answer from {server} ({error}). Start a service with `halftime up`, or pass another --server.", 4)
    except ProblemError as error:
        fail(f"{error}{_hint(error)}", 2)
    except ClientError as error:
        fail(str(error), 4)
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)


def _hint(error: ProblemError) -> str:
    if error.status == 401:
        return " Set HALFTIME_API_KEY to a key of this server."
    if error.retry_after_seconds is not None:
        return f" Retry in {error.retry_after_seconds:.0f} s."
    return ""


def _note_retry(details: stamina.instrumentation.RetryDetails) -> None:
    note(f"{details.caused_by}: retrying in {details.wait_for:.1f} s.")
