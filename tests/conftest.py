"""Fixtures with real parts: a PostgreSQL, an app on it, and processes for the tests that need them.

Each fixture imports its modules itself: `tests/gpu` runs where torch is but no database and no web framework.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from app.settings import Settings

_numbers = itertools.count()

# Logs of apps in this process go to standard error, because commands under test print to standard output.
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))

with contextlib.suppress(ImportError):  # `tests/gpu` runs without it
    import hypothesis

    # No test fails for its duration: a machine may be slow.
    hypothesis.settings.register_profile(
        "halftime", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("halftime")

EXAMPLE_PLUGIN = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def postgres():
    """URL of a PostgreSQL server: HALFTIME_TEST_DATABASE_URL, or an embedded one for the session."""
    from sqlalchemy import make_url, text

    from app.store.database.embedded import embedded_server
    from testing.api_process import temporary_folder

    server_url = os.environ.get("HALFTIME_TEST_DATABASE_URL")
    if server_url:
        yield make_url(server_url).set(drivername="postgresql+psycopg")
        return
    with temporary_folder() as folder, embedded_server(folder) as url:
        # No data outlives the session, so it need not survive a crash of the machine.
        with _administration(url) as connection:
            for switch in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(text(f"ALTER SYSTEM SET {switch} = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        yield url


@pytest.fixture(scope="session")
def migrated_template(postgres):
    """Name of a database with all migrations, to use as a template."""
    from app.store.database.migrate import migrate

    with new_database(postgres, "template1") as url:
        migrate(url)
        yield url.database


@contextlib.contextmanager
def new_database(postgres, template):
    from sqlalchemy import text

    name = f"halftime_{os.getpid()}_{next(_numbers)}"
    with _administration(postgres) as connection:
        # For so small a database, copying files is twice as fast as the WAL; PostgreSQL 14 has no such option.
        strategy = "STRATEGY file_copy" if connection.dialect.server_version_info >= (15,) else ""
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}"))
    yield postgres.set(database=name)
    with _administration(postgres) as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def empty_database_url(postgres):
    """A database without any table."""
    with new_database(postgres, "template1") as url:
        yield url


@pytest.fixture
def database_url(postgres, migrated_template):
    """A migrated database for one test."""
    with new_database(postgres, migrated_template) as url:
        yield url


@pytest.fixture
def settings(database_url):
    return Settings(database_url=database_url.render_as_string(hide_password=False))


@pytest.fixture
async def database(settings):
    from app.store.database.connection import open_database

    async with open_database(settings, pool_size=5) as opened:
        yield opened


@pytest.fixture
async def client(settings):
    """Client of an app that runs in this process."""
    import httpx

    from app.main import create_app

    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://halftime") as http:
            http.app = app
            yield http


@pytest.fixture
async def live(settings):
    """Client of an app served by a real server on loopback, for streams and for clients that disconnect."""
    import httpx
    import uvicorn

    from app.main import create_app

    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done(), "the server did not start"
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        http.app = app
        yield http
    server.should_exit = True
    await serving


@contextlib.contextmanager
def a_service(postgres, migrated_template, tmp_path_factory):
    from tests.service import running_service

    with (
        new_database(postgres, migrated_template) as url,
        running_service(url, tmp_path_factory.mktemp("service")) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def service(postgres, migrated_template, tmp_path_factory):
    """`halftime up` with a CPU worker, for tests of one module that disturb it."""
    with a_service(postgres, migrated_template, tmp_path_factory) as running:
        yield running


@pytest.fixture
def own_service(postgres, migrated_template, tmp_path_factory):
    """`halftime up` with a CPU worker, for one test that stops it."""
    with a_service(postgres, migrated_template, tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="session")
def shared_service(postgres, migrated_template, tmp_path_factory):
    """`halftime up` with a CPU worker, shared by all tests that do not disturb it."""
    with a_service(postgres, migrated_template, tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """Folder with the example plugin, installed as its documentation says."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("installed")
    shutil.copytree(EXAMPLE_PLUGIN, source)  # building writes into the source folder
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index"]
    installed = subprocess.run([*command, "--target", target, source], capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    return target


@contextlib.contextmanager
def _administration(postgres):
    from sqlalchemy import create_engine

    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()
