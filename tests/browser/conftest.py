"""A real browser in front of real pages. Without Chromium these tests are skipped, and say so."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import pytest
from playwright.async_api import async_playwright, expect

from app.cli.running import free_port
from tests.browser.visitor import Visitor
from tests.conftest import new_database
from tests.e2e.conftest import Service, ready

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = "NO BROWSER TESTS: there is no Chromium here; `make browser` as root installs it, or your package manager"

#: Nothing of the browser's own business: updates, accounts, crash reports.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

# Time decides nothing here: a machine may have much else to do.
expect.set_options(timeout=60_000)

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="session")
async def chromium():
    """The system's Chromium, started once."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def visit(chromium):
    """Opens a page as somebody new: `await visit(address, **what the browser is like)`.

    Whatever a test does, no page of it may ask for anything elsewhere, break its policy, or fail in a script.
    """
    visitors = []

    async def open_page(address, **like):
        visitor = await Visitor.arrive(chromium, address, **{"viewport": DESKTOP} | like)
        visitors.append(visitor)
        return visitor.page

    yield open_page
    for visitor in visitors:
        await visitor.leave()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []


@contextlib.contextmanager
def running_service(database_url, folder, device="cpu"):
    """`halftime up` with one worker, on a database."""
    port = free_port()
    environment = os.environ | {
        "HALFTIME_DATABASE_URL": database_url.set(drivername="postgresql").render_as_string(hide_password=False),
        "HALFTIME_PORT": str(port),
        "HALFTIME_HOST": "127.0.0.1",
    }
    log = folder / "service.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "up", "--device", device], env=environment, stderr=stderr
        )
    running = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        running.until(ready, running)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        running.http.close()


@pytest.fixture(scope="session")
def service(postgres, migrated_template, tmp_path_factory):
    """A service with a real worker, for all that needs one."""
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    with (
        new_database(postgres, migrated_template) as url,
        running_service(url, tmp_path_factory.mktemp("service")) as running,
    ):
        yield running
