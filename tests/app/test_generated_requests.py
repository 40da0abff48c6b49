"""Requests that schemathesis makes of the OpenAPI document, against a live server, every check on.

A short run; CONTRIBUTING.md has the long one.
"""

import os
import re
import sys
from pathlib import Path

import anyio
import pytest

from app.contract.key import NewKey
from app.settings import Settings
from app.store import keys

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).parents[1] / "schemathesis.toml"

#: Set to a number of cases per operation for the long run, which also tries every boundary of every field.
LONG = os.environ.get("HALFTIME_TEST_GENERATED")
EXAMPLES, PHASES = (LONG, "examples,coverage,fuzzing,stateful") if LONG else ("4", "examples,fuzzing,stateful")


@pytest.fixture
def settings(database_url):
    """With keys and webhooks, so that their answers are seen too."""
    return Settings(
        database_url=database_url.render_as_string(hide_password=False),
        require_api_key=True,
        max_queued=1_000_000,
        webhook_allowed_hosts="localhost",
        webhook_secret="whsec_" + "c2VjcmV0" * 4,
    )


async def test_the_service_does_what_its_document_says(live):
    async with live.app.state.database.sessions.begin() as session:
        _, key = await keys.create(session, NewKey(name="generated", scopes=["admin"]))
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        CONFIG,
        "run",
        f"{live.base_url}/openapi.json",
    ]
    command += ["--header", f"Authorization: Bearer {key}", "--checks", "all", "--max-examples", EXAMPLES]
    command += ["--phases", PHASES, "--no-color", "--generation-deterministic"]
    done = await anyio.run_process(command, check=False)
    printed = done.stdout.decode()
    assert done.returncode == 0, printed[-6000:]
    assert re.search(r"[1-9]\d+ generated", printed), printed
