"""The service does what its OpenAPI document says. `python -m benchmarks generated_requests` is the long run."""

import anyio.to_thread
import pytest

from app.settings import Settings
from app.store import keys
from halftime.contract.resources.key import NewKey
from testing.generated_requests import SHORT, generate

pytestmark = pytest.mark.anyio

CASES = 4


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
    done = await anyio.to_thread.run_sync(generate, str(live.base_url), key, CASES, SHORT)
    assert done.passed, done.printed[-6000:]
    assert done.requests > 0, done.printed
