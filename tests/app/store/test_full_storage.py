"""PostgreSQL without room to write, as the API sees it: its own error, raised where it would need room."""

import contextlib

import pytest
from sqlalchemy import text

from halftime.contract.resources.problem import MEDIA_TYPE
from tests.app.acts import CPU_JOB, post
from tests.app.routes.test_keys import make_key

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def no_room_in(client, table):
    """Whatever writes to the table finds the disk full."""

    async def do(*statements):
        async with client.app.state.database.sessions.begin() as session:
            for statement in statements:
                await session.execute(text(statement))

    await do(
        """
        CREATE OR REPLACE FUNCTION find_no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
        END $$
        """,
        f"CREATE TRIGGER is_full BEFORE INSERT OR UPDATE ON {table} EXECUTE FUNCTION find_no_room()",
    )
    yield
    await do(f"DROP TRIGGER is_full ON {table}")


@pytest.mark.parametrize("table", ["benchmarks", "procrastinate_jobs"])
async def test_a_submit_without_room_is_refused_with_the_remedy_and_stores_nothing(client, table):
    """By whichever of the two that speak to PostgreSQL."""
    async with no_room_in(client, table):
        refused = await client.post("/benchmarks", json=CPU_JOB)
        assert refused.status_code == 503
        assert refused.headers["Content-Type"] == MEDIA_TYPE
        assert refused.headers["Retry-After"] == "60"
        assert refused.json()["type"] == "/problems/storage_full"
        assert "free or add space" in refused.json()["detail"]
        assert (await client.get("/benchmarks")).json()["items"] == []
    await post(client)


async def test_a_key_whose_use_cannot_be_recorded_still_reads(client):
    _, headers = await make_key(client.app, "read")
    async with no_room_in(client, "api_keys"):
        assert (await client.get("/benchmarks", headers=headers)).status_code == 200
