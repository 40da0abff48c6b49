"""The commands `cancel`, `rerun` and `delete`: change a benchmark on the server."""

import json

import typer

from app.cli.commands.reading import print_benchmark
from app.cli.shared import SERVER, BenchmarkArgument, JsonOption, ServerOption, cli, connected


@cli.command()
def cancel(benchmark: BenchmarkArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Cancels a benchmark."""
    with connected(server) as client:
        print_benchmark(client.cancel(benchmark), as_json)


@cli.command()
def rerun(benchmark: BenchmarkArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Submits a benchmark's request again as a new benchmark."""
    with connected(server) as client:
        print_benchmark(client.rerun(benchmark), as_json)


@cli.command()
def delete(benchmark: BenchmarkArgument, server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Deletes a finished benchmark with its report, events and logs."""
    with connected(server) as client:
        client.delete(benchmark)
    typer.echo(json.dumps({"id": benchmark, "deleted": True}) if as_json else f"{benchmark} is deleted")
