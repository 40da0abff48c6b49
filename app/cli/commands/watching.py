"""The command `watch`: shows the progress of a submitted benchmark."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import REPORT_FORMATS, formats_of
from app.cli.shared import SERVER, BenchmarkArgument, JsonOption, ServerOption, cli, connected, note
from app.cli.view.conclusion import Wanted, conclude
from app.cli.view.progress import attend

#: The exit code that shells use for a command ended by Ctrl-C.
INTERRUPTED = 130


@cli.command()
def watch(
    benchmark: BenchmarkArgument,
    output: Annotated[list[Path] | None, typer.Option(help="a .html, .json, .md or .csv file; repeatable")] = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Shows a benchmark while it runs, then its report.

    Exits with the same codes as `run`. Ctrl-C stops watching; the benchmark continues.
    """
    wanted = Wanted(wait=True, files=formats_of(output, REPORT_FORMATS), as_json=as_json)
    with connected(server) as client:
        try:
            ended = attend(client, client.get(benchmark), silent=as_json)
        except KeyboardInterrupt:
            note(f"{benchmark} continues. Cancel it with `halftime cancel {benchmark}`.")
            raise typer.Exit(INTERRUPTED) from None
        exit_code = conclude(client, ended, wanted)
    raise typer.Exit(exit_code)
