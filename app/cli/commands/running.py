"""`run`: from a request file to a report, on a server or with one of its own."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.cli.missing_extra import need_extra
from app.cli.options import REPORT_FORMATS, SWEEP_FORMATS, formats_of, labels_of
from app.cli.requests import check_request, is_sweep, read_request
from app.cli.shared import JsonOption, cli, connected, fail, note, out, print_json
from app.cli.view.conclusion import EXIT_CODES, Wanted, conclude
from app.cli.view.cost import cost_line, forewarnings
from app.cli.view.progress import follow, follow_sweep
from app.reports.terminal import print_sweep
from halftime.client import Client
from halftime.contract.resources.benchmark import Benchmark
from halftime.contract.resources.cost import Preview
from halftime.contract.resources.sweep import Sweep, SweepRequest

#: Of many benchmarks, the first of these that one of them has.
WORST_FIRST = (4, 1, 3, 0)

#: A benchmark of an hour is not safe_text up for a server that restarts.
RETRIES = 8


@cli.command()
def run(
    request: Annotated[
        Path, typer.Argument(help="the request, or a sweep's: JSON or YAML", exists=True, dir_okay=False)
    ],
    server: Annotated[
        str | None, typer.Option(envvar="HALFTIME_SERVER", help="the API's address; default: a service of its own")
    ] = None,
    wait: Annotated[bool, typer.Option(help="wait for the report")] = True,
    output: Annotated[
        list[Path] | None, typer.Option(help="a .html, .json, .md or .csv file, of a sweep no .html; repeatable")
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="training.batch_size=64; repeatable")] = None,
    label: Annotated[list[str] | None, typer.Option(help="name=value; repeatable")] = None,
    as_json: JsonOption = False,
) -> None:
    """Runs a benchmark. Exits 0 if it passes, 1 if it fails, 3 if inconclusive, 4 if invalid or failed.

    Of a sweep, the worst of its benchmarks counts. Ctrl-C cancels what was submitted.
    """
    if not wait and server is None:
        fail("--no-wait needs --server: a service of its own ends with the command.", 2)
    if not wait and output:
        fail("--output needs --wait: there is no report yet.", 2)
    body = read_request(request, override or [], labels_of(label))
    if server is None:  # another may be of a later release
        check_request(request, body)
    wanted = Wanted(wait, formats_of(output, SWEEP_FORMATS if is_sweep(body) else REPORT_FORMATS), as_json)
    with contextlib.ExitStack() as stack:
        address = server or stack.enter_context(_own_service())
        client = stack.enter_context(connected(address, api_key=None if server else "", retries=RETRIES))
        exit_code = _run_sweep(client, body, wanted) if is_sweep(body) else _run_one(client, body, wanted)
    raise typer.Exit(exit_code)


def _own_service() -> contextlib.AbstractContextManager[str]:
    try:
        from app.cli.own_service import own_service  # noqa: PLC0415 # not needed with --server
    except ModuleNotFoundError as error:
        need_extra("`halftime run` without --server", "worker", error)
    return own_service()


def _run_one(client: Client, body: dict[str, Any], wanted: Wanted) -> int:
    warned = [] if wanted.as_json else _foretell([client.preview(body)])
    benchmark = client.submit(body)
    if not wanted.wait:
        _announce(benchmark, wanted.as_json)
        return 0
    return conclude(client, follow(client, benchmark, silent=wanted.as_json, warned=warned), wanted)


def _run_sweep(client: Client, body: dict[str, Any], wanted: Wanted) -> int:
    previews = [] if wanted.as_json else _previews(client, body)
    if previews:
        _foretell(previews)
    sweep = client.submit_sweep(body)
    if not wanted.as_json:
        note(f"Sweep {sweep.id}")
    if wanted.wait:
        sweep = follow_sweep(client, sweep, silent=wanted.as_json)
        for path, sweep_format in wanted.files.items():
            path.write_text(client.sweep_text(sweep.id, sweep_format))
    if wanted.as_json:
        print_json(sweep)
    else:
        print_sweep(out, sweep)
    return _exit_code(sweep) if wanted.wait else 0


def _foretell(previews: Sequence[Preview]) -> list[str]:
    """Says the rough cost and every warning before anything runs; gives the warnings."""
    note(cost_line(previews))
    warnings = forewarnings(previews)
    for warning in warnings:
        note(f"warning: {warning}")
    return warnings


def _previews(client: Client, body: dict[str, Any]) -> list[Preview]:
    """Of every benchmark; none where the sweep is not valid, which the server will say."""
    try:
        benchmarks = list(SweepRequest.model_validate_json(json.dumps(body)).benchmarks())
    except ValidationError:
        return []
    return [client.preview(benchmark) for benchmark in benchmarks]


def _exit_code(sweep: Sweep) -> int:
    codes = {EXIT_CODES[row.verdict] if row.verdict else 4 for row in sweep.rows}
    return next((code for code in WORST_FIRST if code in codes), 4)


def _announce(benchmark: Benchmark, as_json: bool) -> None:
    if as_json:
        print_json(benchmark)
    else:
        out.print(f"{benchmark.id} is {benchmark.status}")
