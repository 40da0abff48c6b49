"""PostgreSQL on a full disk: clear refusals, reads go on, and nothing is lost or damaged afterwards."""

import contextlib
import errno
import os
import subprocess
import sys

import anyio
import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.main import create_app
from app.settings import Settings
from testing.api_process import temporary_folder

pytestmark = pytest.mark.anyio

DISK_MIB = 112
PATIENCE_SECONDS = 60
JOB = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}, "labels": {"filler": "x" * 60}}
MOST_SUBMITS = 500


@contextlib.contextmanager
def disk_of(mebibytes):
    """A file system in memory that the server's own user can read."""
    with temporary_folder() as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "none", folder]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("A FULL DISK IS NOT TESTED: it needs root and the right to mount a file system.")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk):
    """Fill the disk completely."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (2**20, 2**12):
            try:
                while True:
                    ballast.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC


def make_room(disk):
    (disk / "ballast").unlink()


class Service:
    """An API whose embedded PostgreSQL is on a small disk, and the benchmarks that it accepted."""

    def __init__(self, disk, http, database):
        self.disk, self.http, self.database, self.accepted = disk, http, database, []

    async def submit(self):
        response = await self.http.post("/benchmarks", json=JOB)
        if response.status_code == 202:
            self.accepted.append(response.json()["id"])
        return response

    async def submit_until_refused(self):
        for _ in range(MOST_SUBMITS):
            response = await self.submit()
            if response.status_code != 202:
                return response
        pytest.fail(f"{MOST_SUBMITS} submits found room on a full disk")

    async def until_accepted(self):
        with anyio.fail_after(PATIENCE_SECONDS):
            while (await self.submit()).status_code != 202:
                await anyio.sleep(0.2)

    async def ask(self, statement):
        async with self.database.sessions.begin() as session:
            result = await session.execute(text(statement))
            return result.all() if result.returns_rows else []

    async def check(self):
        """Check accepted benchmarks and their queue entries, by index and by table, and the checksum of every page."""
        for benchmark_id in self.accepted:
            assert (await self.http.get(f"/benchmarks/{benchmark_id}")).json()["status"] == "queued"
        rows = await self.ask("SELECT id::text FROM benchmarks WHERE status = 'queued'")
        assert {row[0] for row in rows} == set(self.accepted)
        entries = await self.ask(
            "SELECT args ->> 'benchmark_id' FROM procrastinate_jobs WHERE task_name = 'run_benchmark'"
        )
        assert sorted(entry[0] for entry in entries) == sorted(self.accepted)
        for (table,) in await self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            await self.ask(f"SELECT count(whole::text) FROM {table} AS whole")  # noqa: S608 # PostgreSQL named it
            await self.ask(f"REINDEX TABLE {table}")


@pytest.fixture(scope="module")
async def service():
    with disk_of(DISK_MIB) as disk:
        app = create_app(Settings(database_url=None, data_dir=disk))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://halftime", timeout=60) as http:
                yield Service(disk, http, app.state.database)


async def test_a_full_disk_refuses_only_writes_and_damages_nothing(service):
    await service.until_accepted()
    fill(service.disk)
    refused = await service.submit_until_refused()
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (503, "/problems/storage_full")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Retry-After"] == "60"
    assert "free or add space" in problem["detail"]
    assert (await service.http.get(f"/benchmarks/{service.accepted[-1]}")).status_code == 200
    assert len((await service.http.get("/benchmarks?limit=200")).json()["items"]) == min(200, len(service.accepted))
    assert (await service.http.get("/readyz")).status_code == 200
    make_room(service.disk)
    await service.until_accepted()
    await service.check()


async def test_a_server_without_room_for_its_wal_recovers_everything_once_there_is_room(service):
    await service.until_accepted()
    fill(service.disk)
    with pytest.raises(OperationalError, match="pg_wal"):
        for _ in range(10):  # some WAL segments may already be allocated
            await service.ask("SELECT pg_logical_emit_message(true, 'one', 'record'), pg_switch_wal()")
    log = service.disk / "postgres" / "log"
    with anyio.fail_after(PATIENCE_SECONDS):
        while "startup process failure" not in log.read_text():
            await anyio.sleep(0.05)
    problem = (await service.submit()).json()
    assert problem["type"] == "/problems/database_unavailable"
    make_room(service.disk)
    await service.until_accepted()
    await service.check()


@pytest.mark.parametrize("command", [["serve"], ["up", "--device", "cpu"], ["worker", "--device", "cpu"]])
def test_a_command_whose_data_directory_is_full_ends_with_a_one_line_message(command):
    environment = {name: value for name, value in os.environ.items() if name != "HALFTIME_DATABASE_URL"}
    with disk_of(16) as disk:
        environment |= {"HALFTIME_DATA_DIR": str(disk), "HALFTIME_PORT": "8799"}
        halftime = [sys.executable, "-m", "app.cli", *command]
        result = subprocess.run(halftime, capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert result.returncode == 1
    assert f"the disk of HALFTIME_DATA_DIR ({disk}) is full" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
