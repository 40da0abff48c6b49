"""API keys over HTTP: who is let in, for what, and what is kept of a key."""

import contextlib
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import event, text

from app.main import create_app
from app.routes.http import auth
from app.routes.http.auth import KEYS_REMEMBERED_SECONDS, AccessGate, Caller
from app.settings import Settings
from app.store import keys
from halftime.contract.resources.key import IMPLIED, NewKey
from halftime.contract.resources.problem import MEDIA_TYPE

pytestmark = pytest.mark.anyio

#: All that answers without a key.
OPEN = {"/livez", "/readyz", "/version", "/metrics"}

CPU_JOB = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}}


def operations():
    """Method, path with made-up ids, and the operation, of everything that wants a key."""
    document = create_app(Settings(database_url="postgresql://unused")).openapi()
    for path, methods in document["paths"].items():
        filled = "/".join(str(uuid.uuid4()) if step.startswith("{") else step for step in path.split("/"))
        if path not in OPEN:
            yield from ((method, filled, operation) for method, operation in methods.items())


async def make_key(app_or_database, *scopes, **facts):
    """The id of a new key, and the headers that carry it."""
    database = getattr(app_or_database, "state", None)
    async with (database.database if database else app_or_database).sessions.begin() as session:
        row, key = await keys.create(session, NewKey(name="a key", scopes=list(scopes), **facts))
    return row.id, {"Authorization": f"Bearer {key}"}


async def revoke(database, key_id):
    async with database.sessions.begin() as session:
        return await keys.revoke(session, key_id)


@contextlib.contextmanager
def asked_about_keys(database):
    """The questions to the database, within the block, whether a key known by its id is valid."""
    questions = []

    def hear(connection, cursor, statement, *_):
        if statement.startswith("SELECT") and "WHERE api_keys.id =" in statement:
            questions.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", hear)
    yield questions
    event.remove(database.engine.sync_engine, "before_cursor_execute", hear)


def needed_scope(method, path):
    if path.endswith(("/drain", "/undrain")):
        return "admin"
    return "read" if method == "get" else "submit"


def test_every_operation_says_which_scope_it_needs():
    for method, path, operation in operations():
        needed = needed_scope(method, path)
        assert operation["security"] == [{"ApiKey": [needed]}], f"{method} {path}"
        assert {"401", "403"} <= operation["responses"].keys(), f"{method} {path}"


async def test_no_operation_lets_a_request_in_without_a_key(client):
    await make_key(client.app, "read")
    for method, path, _ in operations():
        response = await client.request(method, path, json={} if method == "post" else None)
        assert response.status_code == 401, f"{method} {path}"
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.headers["Content-Type"] == MEDIA_TYPE


async def test_every_operation_lets_in_the_scopes_that_allow_it_and_no_other(client):
    held = {scope: (await make_key(client.app, scope))[1] for scope in ("read", "submit", "admin")}
    for method, path, _ in operations():
        for scope, headers in held.items():
            response = await client.request(method, path, headers=headers, json={} if method == "post" else None)
            needed = needed_scope(method, path)
            refused = needed not in IMPLIED[scope]
            assert (response.status_code == 403) == refused, f"{scope}: {method} {path}"
            assert response.status_code != 401
            assert not refused or f"`{needed}`" in response.json()["detail"]
            assert not refused or f'scope="{needed}"' in response.headers["WWW-Authenticate"]


async def test_probes_and_the_openapi_document_stay_open(client):
    await make_key(client.app, "read")
    for path in ("/livez", "/readyz", "/version", "/openapi.json"):
        assert (await client.get(path)).status_code == 200


async def test_a_refusal_says_how_to_get_a_key_and_where_it_goes(client):
    await make_key(client.app, "read")
    detail = (await client.get("/benchmarks")).json()["detail"]
    assert "halftime keys create" in detail
    assert "HALFTIME_API_KEY" in detail


NO_KEYS_OF_OURS = [
    b"Bearer",
    b"Bearer ",
    b"Basic dXNlcjpwYXNzd29yZA==",
    b"Bearer ht_" + b"!" * 43,
    b"Bearer ht_" + b"A" * 42 + b"\x00",
    b"Bearer ht_" + b"A" * 10_000,
    b"Bearer ht_" + "ü".encode() * 43,
    b"Bearer ht_" + b"A" * 42 + b"\n",
    b"Bearer \xff\xfe",
    b"Bearer ht_" + b"A" * 43,
    b"Bearer ' OR 1=1 --",
]


async def test_what_is_no_key_of_ours_is_refused(client):
    await make_key(client.app, "admin")
    for header in NO_KEYS_OF_OURS:
        response = await client.get("/benchmarks", headers={b"Authorization": header})
        assert response.status_code == 401, header
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_where_no_key_is_asked_for_none_is_looked_at(client):
    assert (await client.get("/benchmarks", headers={"Authorization": "Bearer nonsense"})).status_code == 200


async def test_a_revoked_key_opens_nothing_any_more(client):
    await make_key(client.app, "read")
    key_id, headers = await make_key(client.app, "admin")
    assert (await client.get("/benchmarks", headers=headers)).status_code == 200
    await revoke(client.app.state.database, key_id)
    response = await client.get("/benchmarks", headers=headers)
    assert response.status_code == 401
    assert "revoked" in response.json()["detail"]


WITHOUT_KEYS = [
    ({}, True),
    ({"host": "::1"}, True),
    ({"host": "localhost"}, True),
    ({"host": "127.1.2.3"}, True),
    ({"require_api_key": True}, False),
    ({"require_api_key": True, "allow_anonymous": True}, False),
    ({"host": "0.0.0.0"}, False),  # noqa: S104
    ({"host": "::"}, False),
    ({"host": "gpu-node.example"}, False),
    ({"host": "0.0.0.0", "allow_anonymous": True}, True),  # noqa: S104
]


async def test_without_keys_the_settings_decide_who_gets_in(database, settings):
    for given, is_open in WITHOUT_KEYS:
        gate = AccessGate(database.sessions, settings.model_copy(update=given))
        assert await gate.is_open() == is_open, given


async def test_a_first_key_closes_the_gate_once_what_was_remembered_is_old(database, settings):
    now = 0.0
    gate = AccessGate(database.sessions, settings, clock=lambda: now)
    assert await gate.is_open()
    await make_key(database, "read")
    assert await gate.is_open()
    now += KEYS_REMEMBERED_SECONDS
    assert not await gate.is_open()


EVERY_KEY_REVOKED = [
    ({}, False),
    ({"require_api_key": True, "allow_anonymous": True}, False),
    ({"host": "0.0.0.0"}, False),  # noqa: S104
    ({"allow_anonymous": True}, True),
    ({"host": "0.0.0.0", "allow_anonymous": True}, True),  # noqa: S104
]


async def test_when_the_last_key_is_revoked_only_an_operators_word_lets_anyone_in(database, settings):
    key_id, _ = await make_key(database, "read")
    for given, _ in EVERY_KEY_REVOKED:
        assert not await AccessGate(database.sessions, settings.model_copy(update=given)).is_open(), given
    await revoke(database, key_id)
    for given, is_open in EVERY_KEY_REVOKED:
        assert await AccessGate(database.sessions, settings.model_copy(update=given)).is_open() == is_open, given


async def test_what_is_remembered_of_keys_is_bounded(database, settings, monkeypatch):
    monkeypatch.setattr(auth, "KEYS_REMEMBERED", 2)
    monkeypatch.setattr(auth, "KEYS_REMEMBERED_SECONDS", 3600)
    gate = AccessGate(database.sessions, settings)
    first, second, third = (Caller(uuid.uuid4(), frozenset()) for _ in range(3))
    with asked_about_keys(database) as questions:
        for caller in (first, second, second, third, third, first):
            assert not await gate.is_still_valid(caller)
    assert len(questions) == 4


async def test_a_key_is_nowhere_in_its_row(database):
    _, headers = await make_key(database, "read")
    key = headers["Authorization"].removeprefix("Bearer ")
    async with database.sessions() as session:
        row = await session.scalar(text("SELECT api_keys::text FROM api_keys"))
        stored = await session.scalar(text("SELECT sha256 FROM api_keys"))
    assert key.removeprefix(keys.PREFIX) not in row
    assert key.encode().hex() not in row
    assert stored == keys.digest(key)


async def last_use(client):
    async with client.app.state.database.sessions() as session:
        return await session.scalar(text("SELECT max(last_used_at) FROM api_keys"))


async def test_the_last_use_is_recorded_once_a_minute(client):
    _, headers = await make_key(client.app, "read")
    assert await last_use(client) is None
    await client.get("/benchmarks", headers=headers)
    first = await last_use(client)
    await client.get("/benchmarks", headers=headers)
    assert await last_use(client) == first is not None
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(text("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'"))
    await client.get("/benchmarks", headers=headers)
    assert await last_use(client) > first - timedelta(seconds=61)


async def test_a_revoked_key_is_not_used(client):
    await make_key(client.app, "read")
    key_id, headers = await make_key(client.app, "read")
    await revoke(client.app.state.database, key_id)
    await client.get("/benchmarks", headers=headers)
    assert await last_use(client) is None


async def test_a_benchmark_says_which_key_submitted_it(client):
    key_id, headers = await make_key(client.app, "submit")
    await client.post("/benchmarks", json=CPU_JOB, headers=headers)
    sweep = {"request": CPU_JOB, "vary": {"batch_sizes": [8, 16]}}
    assert (await client.post("/sweeps", json=sweep, headers=headers)).status_code == 202
    async with client.app.state.database.sessions() as session:
        recorded = list(await session.scalars(text("SELECT api_key_id FROM benchmarks")))
    assert recorded == [key_id] * 3


async def test_a_benchmark_submitted_without_a_key_says_so(client):
    await client.post("/benchmarks", json=CPU_JOB)
    async with client.app.state.database.sessions() as session:
        assert list(await session.scalars(text("SELECT api_key_id FROM benchmarks"))) == [None]


async def test_a_key_is_valid_until_it_is_revoked(database):
    key_id, _ = await make_key(database, "read")
    async with database.sessions() as session:
        assert await keys.still_valid(session, key_id)
    revoked_at = (await revoke(database, key_id)).revoked_at
    async with database.sessions() as session:
        assert not await keys.still_valid(session, key_id)
        assert not await keys.still_valid(session, uuid.uuid4())
    assert (await revoke(database, key_id)).revoked_at == revoked_at
