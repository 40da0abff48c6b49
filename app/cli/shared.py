"""What the commands share: the typer application, options, consoles, and errors said in one line."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated, NoReturn

import typer
from pydantic import BaseModel
from rich.console import Console

from app.client import DEFAULT_SERVER, Client, ClientError, ProblemError, TransportError

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Halftime: is mixed-precision training worth it for this model on this GPU?",
)

#: Into a file or a pipe, lines are as long as an id and its figures need.
out = Console(width=None if sys.stdout.isatty() else 120)
err = Console(stderr=True)

ServerOption = Annotated[str, typer.Option("--server", help="the API's address")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]
BenchmarkArgument = Annotated[str, typer.Argument(help="the benchmark's id")]

#: A port set for `serve` is where the other commands look.
SERVER = f"http://127.0.0.1:{os.environ['HALFTIME_PORT']}" if "HALFTIME_PORT" in os.environ else DEFAULT_SERVER


def fail(message: str, exit_code: int) -> NoReturn:
    """Ends the command with a message on standard error."""
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(exit_code)


def print_json(model: BaseModel) -> None:
    """A model as indented JSON, as it came."""
    print(model.model_dump_json(indent=2))


@contextlib.contextmanager
def connected(server: str) -> Iterator[Client]:
    """A client whose errors end the command: 2 for a refused request, 4 for a server that does not answer."""
    try:
        client = Client(server)
    except ValueError as error:
        fail(str(error), 2)
    with client:
        try:
            yield client
        except TransportError as error:
            fail(f"No answer from {server} ({error}). Start one with `halftime up`, or name another with --server.", 4)
        except ClientError as error:
            fail(str(error), 2 if isinstance(error, ProblemError) else 4)
