"""`workers`: who there is to do the work; `workers drain`, `workers undrain`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from app.cli.shared import SERVER, JsonOption, ServerOption, cli, connected, fail, out, print_json
from app.cli.view.listing import workers_list
from app.reports.sanitize import safe_text
from halftime.contract.resources.worker import Worker

commands = typer.Typer(invoke_without_command=True)
cli.add_typer(commands, name="workers")

WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="the worker's id")]


@commands.callback()
def workers(context: typer.Context, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Lists the workers, or lets one take no more benchmarks."""
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
    """Lets a worker finish what it runs and take no more, until `undrain`; a restart does not change that."""
    with connected(server) as client:
        _show(client.drain(worker), as_json)


@commands.command()
def undrain(worker: WorkerArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Lets a worker take benchmarks again."""
    with connected(server) as client:
        _show(client.undrain(worker), as_json)


def _show(worker: Worker, as_json: bool) -> None:
    if as_json:
        print_json(worker)
    else:
        runs = f"; it runs {worker.current_benchmark}" if worker.current_benchmark else ""
        out.print(safe_text(f"{worker.id} is {worker.state}{runs}"), soft_wrap=True)


def _refuse_options_of_the_list(context: typer.Context) -> None:
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"Options go behind the command: `halftime workers {context.invoked_subcommand} WORKER --…`.", 2)
