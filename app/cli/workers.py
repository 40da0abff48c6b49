"""`workers`: who there is to do the work; `workers drain`, `workers undrain`."""

from typing import Annotated

import typer
from rich.table import Table

from app.cli.shared import SERVER, JsonOption, ServerOption, cli, connected, fail, out, print_json
from app.contract.worker import Worker

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
    table = Table("Worker", "Device", "State", "Runs", "Last heartbeat")
    for item in page.items:
        device = item.device.gpu or item.device.name
        table.add_row(item.id, device, item.state, item.current_benchmark or "", f"{item.last_heartbeat:%H:%M:%S}")
    out.print(table)
    for item in page.items:
        if item.quarantine is not None:
            line = f"{item.id} is quarantined since {item.quarantine.since:%Y-%m-%d %H:%M}: {item.quarantine.reason}"
            out.print(line, markup=False, soft_wrap=True)


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
        out.print(f"{worker.id} is {worker.state}{runs}", markup=False, soft_wrap=True)


def _refuse_options_of_the_list(context: typer.Context) -> None:
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            fail(f"Options go behind the command: `halftime workers {context.invoked_subcommand} WORKER --…`.", 2)
