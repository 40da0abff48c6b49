"""The compose file with its profile `cpu`, and workers without privileges on its network."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.cli.own_service import free_port
from halftime.client import Client
from testing.images.all_in_one import cause, ended, online, training
from testing.images.containers import PATIENCE_SECONDS, PREFIX, WITHOUT_RIGHTS, Container, no_json, started, tag, until
from testing.images.engine import Engine
from testing.images.record import Record
from testing.images.requests import BLOCKS, COMPILED, LARGE_BATCHES, LONG, SHORT

ROOT = Path(__file__).parents[2]
OURS = ["api", "worker-cpu"]
SERVICES = ["postgres", *OURS]

#: The database URL in the compose file.
DATABASE_URL = "postgresql://halftime:halftime@postgres:5432/halftime"

#: Builds use the host's network, so that they reach an index on loopback.
OVERRIDE = "services: {api: {build: {network: host}}, worker-cpu: {build: {network: host}}}\n"


@dataclass(frozen=True)
class Project:
    """The services of the compose file under another project name, so that others can run next to it."""

    engine: Engine
    folder: Path
    port: int
    torch_index_url: str

    def compose(self, *words: str, profiles: str = "cpu") -> str:
        """Run a Compose command and return its output."""
        files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(self.folder / "override.yml")]
        variables = {
            "COMPOSE_PROFILES": profiles,
            "HALFTIME_PORT": str(self.port),
            "TORCH_INDEX_URL": self.torch_index_url,
        }
        project = ["--project-name", PREFIX, "--project-directory", str(ROOT), "--env-file", os.devnull]
        return self.engine.compose(*project, *files, *words, **variables)

    def container(self, service: str) -> Container:
        """Container of a service."""
        return Container(self.engine, f"{PREFIX}-{service}-1")

    def left(self) -> list[str]:
        """Services that have a container."""
        label = "label=com.docker.compose.project"
        form = '{{.Label "com.docker.compose.service"}}'
        return sorted(self.engine.docker("ps", "--all", "--filter", f"{label}={PREFIX}", "--format", form).split())


def check(engine: Engine, record: Record, folder: Path, torch_index_url: str) -> None:
    """Check that it starts, makes a report, survives a kill of each service, and stops and is removed as documented."""
    project = Project(engine, folder, free_port(), torch_index_url)
    (folder / "override.yml").write_text(OVERRIDE)
    address = f"http://127.0.0.1:{project.port}"
    try:
        with Client(address, api_key="") as client:
            _comes_up(project, client, record)
            _outlives_kills(project, client, record)
            record.attempt("worker without rights", lambda: _without_rights(project, client, record))
            _stops(project, client, record)
        _goes(project, record)
    finally:
        project.compose("down", "--volumes", "--rmi", "local", profiles="*")


def _comes_up(project: Project, client: Client, record: Record) -> None:
    began = time.monotonic()
    project.compose("up", "--build", "--detach")
    until(client.ready, "the API")
    until(lambda: online(client), "the worker")
    seconds = round(time.monotonic() - began, 1)
    users = {service: project.container(service).user() for service in OURS}
    record.note("compose, up", all(users.values()), seconds=seconds, users=users)
    status = ended(client, client.submit(SHORT).id)
    record.note("compose, a report", status == "succeeded", status=status)


def _outlives_kills(project: Project, client: Client, record: Record) -> None:
    """Kill each service while a benchmark runs: the benchmark must succeed, and stored reports must stay."""
    kept = client.submit(SHORT)
    ended(client, kept.id)
    report = client.report_text(kept.id, "json")
    for service in SERVICES:
        benchmark_id = client.submit(BLOCKS).id
        until(partial(training, client, benchmark_id), "training to begin")
        began = time.monotonic()
        project.container(service).kill()
        until(client.ready, "the API after a kill")
        until(lambda: online(client), "the worker after a kill")
        seconds = round(time.monotonic() - began, 1)
        benchmark = client.wait(benchmark_id, timeout_seconds=PATIENCE_SECONDS)
        same = client.report_text(kept.id, "json") == report
        workers = [worker.id for worker in client.workers().items]
        good = benchmark.status == "succeeded" and same and workers == ["worker-cpu:cpu"]
        figures = {"ready_after_seconds": seconds, "attempt": benchmark.attempt, "status": benchmark.status}
        record.note(f"compose, {service} killed", good, **figures, report_kept=same, workers=workers)


def _without_rights(project: Project, client: Client, record: Record) -> None:
    """Replace the compose file's worker with one without privileges."""
    project.compose("stop", "worker-cpu")
    try:
        with _worker(project, "bare-worker") as worker:
            until(lambda: "bare-worker:cpu" in _live(client), "a worker without rights")
            record.attempt("torch.compile", lambda: _compiles(client, worker, record))
            record.attempt("large batches", lambda: _refuses_large_batches(client, record))
            bad = no_json(worker.lines())
            record.note("worker without rights, every log line JSON", not bad, not_json=bad[:5])
    finally:
        project.compose("start", "worker-cpu")
    until(lambda: "worker-cpu:cpu" in _live(client), "the worker of the compose file")


def _compiles(client: Client, worker: Container, record: Record) -> None:
    began = time.monotonic()
    benchmark = client.wait(client.submit(COMPILED).id, timeout_seconds=PATIENCE_SECONDS, check=True)
    seconds = round(time.monotonic() - began, 1)
    report = client.report(benchmark.id)
    legs = [report.baseline, *(comparison.candidate for comparison in report.comparisons)]
    compilations = [trial.compilation for leg in legs for trial in leg.trials]
    took = [round(compilation.compile_seconds, 1) for compilation in compilations if compilation]
    good = bool(took) and None not in compilations and worker.user() > 0
    record.note("worker without rights, torch.compile", good, seconds=seconds, compile_seconds=took, user=worker.user())


def _refuses_large_batches(client: Client, record: Record) -> None:
    """Run large batches in Docker's default 64 MB of shared memory: the failure must name the cause."""
    began = time.monotonic()
    benchmark_id = client.submit(LARGE_BATCHES).id
    figures = {"status": ended(client, benchmark_id), "seconds": round(time.monotonic() - began, 1)}
    failure = cause(client, benchmark_id)
    named = "/dev/shm" in failure or "shared memory" in failure  # noqa: S108 # a text to search for
    record.note("worker with 64 MB of shared memory, large batches", named, **figures, said=failure)


@contextlib.contextmanager
def _worker(project: Project, name: str) -> Iterator[Container]:
    options = ["--hostname", name, "--network", f"{PREFIX}_default", "--env", f"HALFTIME_DATABASE_URL={DATABASE_URL}"]
    options += ["--stop-timeout", "30", *WITHOUT_RIGHTS]
    command = ("halftime", "worker", "--device", "cpu")
    with started(project.engine, name, *options, image=tag("worker"), command=command) as container:
        yield container


def _live(client: Client) -> set[str]:
    return {worker.id for worker in client.workers().items if worker.state in {"idle", "busy"}}


def _stops(project: Project, client: Client, record: Record) -> None:
    """Stop the services one by one while a benchmark runs."""
    benchmark_id = client.submit(LONG).id
    until(partial(training, client, benchmark_id), "training to begin")
    stopped = {service: project.container(service).stop() for service in ["worker-cpu", "api", "postgres"]}
    project.compose("start")
    until(client.ready, "the API after a stop")
    events = [event.kind for event in client.past_events(benchmark_id)]
    client.cancel(benchmark_id)
    good = all(outcome["exit_code"] == 0 for outcome in stopped.values()) and "handed_back" in events
    record.note("compose, stopped under load", good, **stopped, handed_back="handed_back" in events)
    ended(client, benchmark_id)
    lines = [line for service in OURS for line in project.container(service).lines()]
    bad = no_json(lines)
    record.note("compose, every log line JSON", not bad, lines=len(lines), not_json=bad[:5])
    limits = project.engine.docker(
        "inspect", "--format", "{{json .HostConfig.LogConfig}}", project.container("api").name
    )
    record.note("compose, logs bounded", "max-size" in limits, limits=limits)


def _goes(project: Project, record: Record) -> None:
    """Remove the services as documented; `down` without a profile leaves the workers."""
    project.compose("down", profiles="")
    after_plain = project.left()
    project.compose("--profile", "*", "down", profiles="")
    record.note("compose, down", project.left() == [], left=project.left(), left_by_plain_down=after_plain)
