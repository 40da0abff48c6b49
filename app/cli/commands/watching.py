"""`watch`: a benchmark that somebody has submitted, as it goes on."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import REPORT_FORMATS, formats_of
from app.cli.shared import SERVER, BenchmarkArgument, JsonOption, ServerOption, cli, connected, note
from app.cli.view.conclusion import Wanted, conclude
from app.cli.view.progress import attend

#: As a shell has it for a command that Ctrl-C ended.
INTERRUPTED = 130


@cli.command()
def watch(
    benchmark: BenchmarkArgument,
    output: Annotated[list[Path] | None, typer.Option(help="a .json or .md file; repeatable")] = None,
    server: ServerOption = SERVER,
    as_json: JsonOption = False,
) -> None:
    """Shows a benchmark as it runs, then its report. Exits as `run` does. Ctrl-C stops watching, and nothing else."""
    wanted = Wanted(wait=True, files=formats_of(output, REPORT_FORMATS), as_json=as_json)
    with connected(server) as client:
        try:
            ended = attend(client, client.get(benchmark), silent=as_json)
        except KeyboardInterrupt:
            note(f"{benchmark} goes on. `halftime cancel {benchmark}` ends it.")
            raise typer.Exit(INTERRUPTED) from None
        exit_code = conclude(client, ended, wanted)
    raise typer.Exit(exit_code)
