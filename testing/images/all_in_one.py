"""The all-in-one image, started as the README starts it, without privileges."""

import time

from app.cli.own_service import free_port
from halftime.client import Client
from testing.images.containers import PATIENCE_SECONDS, PREFIX, WITHOUT_RIGHTS, Container, no_json, started, tag, until
from testing.images.engine import Engine
from testing.images.record import Record
from testing.images.requests import LARGE_BATCHES, LONG, SHORT

VOLUME = f"{PREFIX}-data"


def check(engine: Engine, record: Record) -> None:
    """Check that it serves, survives a kill and a new container, and requeues its benchmark when it is stopped."""
    port = free_port()
    options = [
        *("--hostname", "halftime", "--publish", f"127.0.0.1:{port}:8000", "--env", "HALFTIME_ALLOW_ANONYMOUS=true"),
        *("--volume", f"{VOLUME}:/var/lib/halftime", "--shm-size", "1g", "--stop-timeout", "30", *WITHOUT_RIGHTS),
    ]
    lines: list[str] = []
    with Client(f"http://127.0.0.1:{port}", api_key="") as client:
        with started(engine, "one", *options, image=tag("halftime")) as container:
            _serves(client, container, record)
            benchmark_id, report = _reports(client, record)
            _outlives_a_kill(client, container, benchmark_id, report, record)
            _hands_back_when_stopped(client, container, record)
            lines += container.lines()
        with started(engine, "one", *options, image=tag("halftime")) as container:
            until(client.ready, "a new container on the old volume")
            until(lambda: online(client), "its worker")
            kept = client.report_text(benchmark_id, "json") == report
            workers = [worker.id for worker in client.workers().items]
            record.note("all in one, removed and made anew", kept and workers == ["halftime:cpu"], workers=workers)
            _loads_large_batches(client, record)
            lines += container.lines()
    bad = no_json(lines)
    record.note("all in one, every log line JSON", not bad, lines=len(lines), not_json=bad[:5])


def online(client: Client) -> bool:
    """Whether a worker is idle or busy."""
    return any(worker.state in {"idle", "busy"} for worker in client.workers().items)


def training(client: Client, benchmark_id: str) -> bool:
    """Whether a benchmark's first trial has done a step."""
    progress = client.get(benchmark_id).progress
    return progress is not None and progress.step > 0


def ended(client: Client, benchmark_id: str) -> str:
    """Final status of a benchmark."""
    return client.wait(benchmark_id, timeout_seconds=PATIENCE_SECONDS).status


def cause(client: Client, benchmark_id: str) -> str:
    """Why a benchmark failed; empty if it did not."""
    failure = client.get(benchmark_id).failure
    return failure.detail if failure else ""


def _serves(client: Client, container: Container, record: Record) -> None:
    began = time.monotonic()
    until(container.healthy, "a healthy container")
    healthy = round(time.monotonic() - began, 1)
    until(lambda: online(client), "a worker")
    record.note("all in one, up", container.user() > 0, healthy_after_seconds=healthy, user=container.user())


def _reports(client: Client, record: Record) -> tuple[str, str]:
    began = time.monotonic()
    benchmark = client.submit(SHORT)
    status = ended(client, benchmark.id)
    report = client.report_text(benchmark.id, "json")
    seconds = round(time.monotonic() - began, 1)
    verdict = client.report(benchmark.id).verdict
    record.note("all in one, a report", status == "succeeded", seconds=seconds, verdict=verdict, bytes=len(report))
    return benchmark.id, report


def _outlives_a_kill(client: Client, container: Container, benchmark_id: str, report: str, record: Record) -> None:
    began = time.monotonic()
    container.kill()
    until(client.ready, "the API after a kill")
    until(lambda: online(client), "the worker after a kill")
    seconds = round(time.monotonic() - began, 1)
    kept = client.report_text(benchmark_id, "json") == report
    again = ended(client, client.submit(SHORT).id)
    record.note("all in one, killed", kept and again == "succeeded", ready_after_seconds=seconds, report_kept=kept)


def _hands_back_when_stopped(client: Client, container: Container, record: Record) -> None:
    benchmark_id = client.submit(LONG).id
    until(lambda: training(client, benchmark_id), "training to begin")
    stopped = container.stop()
    container.start()
    until(client.ready, "the API after a stop")
    events = [event.kind for event in client.past_events(benchmark_id)]
    client.cancel(benchmark_id)
    ended(client, benchmark_id)
    good = stopped["exit_code"] == 0 and "handed_back" in events
    record.note("all in one, stopped under load", good, **stopped, handed_back="handed_back" in events)


def _loads_large_batches(client: Client, record: Record) -> None:
    benchmark_id = client.submit(LARGE_BATCHES).id
    good = ended(client, benchmark_id) == "succeeded"
    record.note("all in one, large batches in 1 GiB of shared memory", good, said=cause(client, benchmark_id))
