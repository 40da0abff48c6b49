"""An embedded PostgreSQL and an API on it, for benchmarks on the fleet."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import URL, Engine, create_engine, text

from app.settings import Settings
from app.store.database.connection import libpq_url, located
from testing.api_process import served, temporary_folder

#: Clients that post at the same time.
CLIENTS = 4

UNFINISHED = "SELECT count(*) FROM benchmarks WHERE status IN ('queued', 'running', 'cancelling')"


@dataclass(frozen=True)
class Service:
    """A running service without workers."""

    data_dir: Path
    url: URL
    api: psutil.Process
    http: httpx.Client
    #: A connection of the benchmark's own, for queries.
    engine: Engine

    def post(self, requests: list[dict[str, Any]]) -> float:
        """Post these requests, a few at a time; return requests accepted per second."""
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda body: self.http.post("/benchmarks", json=body).raise_for_status(), requests))
        return len(requests) / (time.perf_counter() - began)

    def unfinished(self) -> int:
        """Number of benchmarks that have not ended."""
        with self.engine.connect() as connection:
            return connection.execute(text(UNFINISHED)).scalar_one()

    def until_all_ended(self) -> None:
        """Wait until all benchmarks have ended, polling seldom because each query costs time."""
        while self.unfinished():
            time.sleep(0.5)


@contextlib.contextmanager
def service() -> Iterator[Service]:
    """Run a service; stop it and remove its data at the end."""
    with (
        temporary_folder() as folder,
        located(Settings(data_dir=folder, database_url=None)) as url,
        served(HALFTIME_DATABASE_URL=libpq_url(url)) as (api, http),
    ):
        engine = create_engine(url)
        try:
            yield Service(folder, url, api, http, engine)
        finally:
            engine.dispose()
