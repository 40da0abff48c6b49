"""`halftime up` in real processes, with a client."""

import contextlib
import os
import signal
import subprocess
import sys

import httpx

from app.cli.own_service import free_port
from testing.waiting import wait_until

PATIENCE_SECONDS = 90


class Service:
    """A running `halftime up` and a client of it."""

    def __init__(self, process, url, log):
        self.process, self.url, self.log = process, url, log
        self.http = httpx.Client(base_url=url, timeout=30)

    def post(self, body):
        response = self.http.post("/benchmarks", json=body)
        assert response.status_code == 202, response.text
        return response.json()["id"]

    def get(self, benchmark_id):
        return self.http.get(f"/benchmarks/{benchmark_id}").json()

    def until(self, condition, *arguments):
        """Return the condition's first truthy value. Raises TimeoutError with the end of the log."""
        return wait_until(lambda: condition(*arguments), timeout_seconds=PATIENCE_SECONDS, log=self.log)

    def until_status(self, benchmark_id, *statuses):
        def reached():
            row = self.get(benchmark_id)
            return row if row["status"] in statuses else None

        return self.until(reached)

    def online_workers(self):
        return [worker for worker in self.http.get("/workers").json()["items"] if worker["state"] != "offline"]


def ready(service):
    try:
        return service.http.get("/readyz").is_success and service.online_workers()
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def running_service(database_url, folder, device="cpu", **settings):
    """Run `halftime up` with one worker and a log file. Without a URL it uses the embedded database."""
    port = free_port()
    url = database_url.set(drivername="postgresql").render_as_string(hide_password=False) if database_url else ""
    environment = os.environ | {
        "HALFTIME_DATABASE_URL": url,
        "HALFTIME_PORT": str(port),
        "HALFTIME_HOST": "127.0.0.1",
        **settings,
    }
    log = folder / "service.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up", "--device", device],
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    running = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        running.until(ready, running)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        running.http.close()
