"""`run`: from a request file to a report, on a server or with one of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.cli.reading import OutputOption, report_format_of
from app.cli.shared import JsonOption, cli, connected, err, fail, out, print_json
from app.cli.supervisor import die_with_parent
from app.client import Client
from app.contract.benchmark import TERMINAL, Benchmark
from app.contract.report import Verdict
from app.reports.terminal import print_report

#: 2 is a usage error, 4 a benchmark without a trustworthy report.
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "inconclusive": 3, "invalid": 4}

START_SECONDS = 60.0
POLL_SECONDS = 0.5


@cli.command()
def run(
    request: Annotated[Path, typer.Argument(help="the request, JSON or YAML", exists=True, dir_okay=False)],
    server: Annotated[str | None, typer.Option(help="the API's address; default: a service of its own")] = None,
    wait: Annotated[bool, typer.Option(help="wait for the report")] = True,
    output: OutputOption = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="training.batch_size=64, repeatable")] = None,
    as_json: JsonOption = False,
) -> None:
    """Runs a benchmark. Exits 0 if it passes, 1 if it fails, 3 if inconclusive, 4 if invalid or failed."""
    if not wait and server is None:
        fail("--no-wait needs --server: a service of its own ends with the command.", 2)
    body = read_request(request, override or [])
    for path in output or []:
        report_format_of(path)
    with contextlib.ExitStack() as stack:
        address = server or stack.enter_context(own_service())
        client = stack.enter_context(connected(address))
        benchmark = client.submit(body)
        if not wait:
            _announce(benchmark, as_json)
            return
        benchmark = _follow(client, benchmark)
        if benchmark.status != "succeeded":
            _explain(benchmark)
        for path in output or []:
            path.write_text(client.report_text(benchmark.id, report_format_of(path)))
        report = client.report(benchmark.id)
    if as_json:
        print_json(report)
    else:
        print_report(out, report)
    raise typer.Exit(EXIT_CODES[report.verdict])


def read_request(path: Path, overrides: list[str]) -> dict[str, Any]:
    """The request of a file, with `--set` applied. A path that names no section belongs to `config`."""
    try:
        body = yaml.safe_load(path.read_text())  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        fail(f"{path} is neither JSON nor YAML: {error}", 2)
    if not isinstance(body, dict):
        fail(f"{path} holds no request: it must be an object with `model`.", 2)
    for override in overrides:
        _apply(body, override)
    return body


@contextlib.contextmanager
def own_service() -> Iterator[str]:
    """`halftime up` on a temporary database and a free port; gives its address."""
    with tempfile.TemporaryDirectory(prefix="halftime-") as folder:
        Path(folder).chmod(0o755)  # the embedded PostgreSQL runs as its own user
        port = free_port()
        log_path = Path(folder) / "service.log"
        with log_path.open("w") as log:
            # Its own session, so that Ctrl-C cancels the benchmark first; and it does not outlive this process.
            service = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up"],
                env=own_environment(folder, port),
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 # there is one thread
            )
        try:
            _wait_until_ready(f"http://127.0.0.1:{port}", service, log_path)
            yield f"http://127.0.0.1:{port}"
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait()


def own_environment(folder: str, port: int) -> dict[str, str]:
    """The environment of such a service: on loopback, with a database of its own, which holds no key."""
    inherited = {name: value for name, value in os.environ.items() if name != "HALFTIME_DATABASE_URL"}
    return inherited | {
        "HALFTIME_DATA_DIR": folder,
        "HALFTIME_HOST": "127.0.0.1",
        "HALFTIME_PORT": str(port),
        "HALFTIME_REQUIRE_API_KEY": "false",
    }


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(address: str, service: "subprocess.Popen[bytes]", log_path: Path) -> None:
    """Returns when the API answers and a worker is there."""
    deadline = time.monotonic() + START_SECONDS
    with Client(address) as client, err.status("Starting the service …"):
        while time.monotonic() < deadline and service.poll() is None:
            if client.ready() and any(worker.state != "offline" for worker in client.workers().items):
                return
            time.sleep(0.1)
    fail(f"The service did not start:\n{log_path.read_text()[-4000:]}", 4)


def _follow(client: Client, benchmark: Benchmark) -> Benchmark:
    """Shows progress until the benchmark is over; Ctrl-C cancels it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=err) as bar:
            task = bar.add_task("queued", total=1.0)
            for seen in client.watch(benchmark.id, every_seconds=POLL_SECONDS):
                benchmark = seen
                _draw(bar, task, seen)
    except KeyboardInterrupt:
        err.print("Cancelling …")
        client.cancel(benchmark.id)
        for seen in client.watch(benchmark.id, every_seconds=POLL_SECONDS):
            benchmark = seen
    return benchmark


def _draw(bar: Progress, task: TaskID, seen: Benchmark) -> None:
    progress = seen.progress
    if progress is None:
        waiting = "queued" if seen.queue.workers_online else "queued: no worker is online for this device"
        bar.update(task, description=waiting if seen.status == "queued" else seen.status)
        return
    left = "" if progress.eta_seconds is None or seen.status in TERMINAL else f", {progress.eta_seconds:.0f} s left"
    where = f"block {progress.block}/{progress.max_blocks}, {progress.leg}, step {progress.step}/{progress.total_steps}"
    bar.update(task, completed=progress.fraction, description=f"{seen.status}: {where}{left}")


def _announce(benchmark: Benchmark, as_json: bool) -> None:
    if as_json:
        print_json(benchmark)
    else:
        out.print(f"{benchmark.id} is {benchmark.status}")


def _explain(benchmark: Benchmark) -> None:
    """Ends the command for a benchmark without a report."""
    if benchmark.failure:
        fail(f"{benchmark.failure.title} ({benchmark.failure.code}): {benchmark.failure.detail}", 4)
    fail(f"The benchmark was {benchmark.status}.", 4)


def _apply(body: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals:
        fail(f"--set {override!r} must look like training.batch_size=64", 2)
    steps = dotted.split(".")
    if steps[0] not in {"model", "config", "requirements", "labels", "priority"}:
        steps.insert(0, "config")
    place = body
    for step in steps[:-1]:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            fail(f"--set {dotted}: {step} is no section", 2)
    place[steps[-1]] = yaml.safe_load(text)
