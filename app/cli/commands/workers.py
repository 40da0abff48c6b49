"""The commands `workers`, `workers drain` and `workers undrain`: list and drain workers."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from app.cli.shared import SERVER, JsonOption, ServerOption, cli, connected, fail, out, print_json
from app.cli.view.listing import workers_list
from app.reports.text.sanitize import safe_text
from halftime.contract.resources.worker import Worker

commands = typer.Typer(invoke_without_command=True)
cli.add_typer(commands, name="workers")

WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="the worker's ID")]


@commands.callback()
def workers(context: typer.Context, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Lists the workers, or drains one."""
    if context.invoked_subcommand is not None:
        _refuse_options_of_the_list(context)
        return
    with connected(server) as client:
        page = client.workers()
    if as_json:
        print_json(page)
        return
    out.print(workers_list(page.items, datetime.now(UTC), out.width))


@commands.command()
def drain(worker: WorkerArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Drains a worker: it finishes its benchmark and takes no more until `undrain`, even after a restart."""
    with connected(server) as client:
        _show(client.drain(worker), as_json)


@commands.command()
def undrain(worker: WorkerArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Ends the draining of a worker: it takes benchmarks again."""
    with connected(server) as client:
        _show(client.undrain(worker), as_json)


def _show(worker: Worker, as_json: bool) -> None:
    if as_json:
        print_json(worker)
    else:
        runs = f"; running {worker.current_benchmark}" if worker.current_benchmark else ""
        out.print(safe_text(f"{worker.id} is {worker.state}{runs}"), soft_wrap=True)


def _refuse_options_of_the_list(context: typer.Context) -> None:
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"Put options after the command: `halftime workers {context.invoked_subcommand} WORKER --…`.", 2)
