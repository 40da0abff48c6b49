"""The command `run`: turns a request file into a report, on a server or with a temporary service."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.cli.exit_codes import sweep_exit_code
from app.cli.missing_extra import need_extra
from app.cli.options import REPORT_FORMATS, SWEEP_FORMATS, formats_of, labels_of
from app.cli.requests import check_request, is_sweep, read_request
from app.cli.shared import JsonOption, cli, connected, fail, note, out, print_json
from app.cli.view.conclusion import Wanted, conclude
from app.cli.view.cost import cost_line, forewarnings
from app.cli.view.progress import follow, follow_sweep
from app.reports.terminal import print_sweep
from halftime.client import Client
from halftime.contract.resources.benchmark import Benchmark
from halftime.contract.resources.cost import Preview
from halftime.contract.resources.sweep import SweepRequest

#: More retries than other commands: a server restart must not end the wait for an hour-long benchmark.
RETRIES = 8


@cli.command()
def run(
    request: Annotated[
        Path, typer.Argument(help="a benchmark or sweep request, JSON or YAML", exists=True, dir_okay=False)
    ],
    server: Annotated[
        str | None, typer.Option(envvar="HALFTIME_SERVER", help="the API's address; default: a temporary service")
    ] = None,
    wait: Annotated[bool, typer.Option(help="wait for the report")] = True,
    output: Annotated[
        list[Path] | None, typer.Option(help="a .html, .json, .md or .csv file; no .html for a sweep; repeatable")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="override a field: training.batch_size=64; repeatable")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="add a label: name=value; repeatable")] = None,
    as_json: JsonOption = False,
) -> None:
    """Runs a benchmark or a sweep and prints its report.

    Exits with 0 for the verdict pass, 1 for fail, 3 for inconclusive, and 4 for an invalid comparison or a failed
    benchmark. A sweep exits with the worst code of its benchmarks. Ctrl-C cancels what was submitted.
    """
    if not wait and server is None:
        fail("--no-wait needs --server: the temporary service ends with the command.", 2)
    if not wait and output:
        fail("--output cannot be combined with --no-wait: there is no report yet.", 2)
    body = read_request(request, override or [], labels_of(label))
    if server is None:  # a server of a later release may accept more
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
    warned = [] if wanted.as_json else _print_forecast([client.preview(body)])
    benchmark = client.submit(body)
    if not wanted.wait:
        _announce(benchmark, wanted.as_json)
        return 0
    return conclude(client, follow(client, benchmark, silent=wanted.as_json, warned=warned), wanted)


def _run_sweep(client: Client, body: dict[str, Any], wanted: Wanted) -> int:
    previews = [] if wanted.as_json else _previews(client, body)
    if previews:
        _print_forecast(previews)
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
    return sweep_exit_code(sweep) if wanted.wait else 0


def _print_forecast(previews: Sequence[Preview]) -> list[str]:
    """Prints the estimated cost and every warning before anything runs. Returns the warnings."""
    note(cost_line(previews))
    warnings = forewarnings(previews)
    for warning in warnings:
        note(f"warning: {warning}")
    return warnings


def _previews(client: Client, body: dict[str, Any]) -> list[Preview]:
    """Returns a preview of every benchmark; empty for an invalid sweep, which the server will report."""
    try:
        benchmarks = list(SweepRequest.model_validate_json(json.dumps(body)).benchmarks())
    except ValidationError:
        return []
    return [client.preview(benchmark) for benchmark in benchmarks]


def _announce(benchmark: Benchmark, as_json: bool) -> None:
    if as_json:
        print_json(benchmark)
    else:
        out.print(f"{benchmark.id} is {benchmark.status}")
