"""Events: typed for readers, sent as they are stored, and open to what a newer server adds."""

import json
import re
import uuid
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import text

import app.web
from app.main import create_app
from app.settings import Settings
from app.web import formats
from halftime.contract import event_data
from halftime.contract.event_data import EventData
from halftime.contract.events import EVENT, EVENTS, EventPage, UnknownEvent
from halftime.contract.report.failure import Failure, FailureCode
from tests.app.acts import post
from tests.app.web.browsing import page_of, see
from tests.events import MOMENT, data_of, event

pytestmark = pytest.mark.anyio

TRIAL = {"leg": "bf16", "block": 1, "phase": "capacity", "batch_size": 64}
FAILURE = {"code": "timeout", "title": "Timed out", "detail": "It took too long.", "retryable": True}
INTERVAL = {"value": 1.5, "ci_low": 1.25, "ci_high": 2.0}

#: What an event of each kind holds, in full.
DATA = {
    "queued": {"queue": "cpu"},
    "started": {"attempt": 1, "worker": "node:cpu"},
    "inspected": {"parameter_count": 212},
    "inspection_failed": {"code": "invalid_model"},
    "trial_finished": TRIAL
    | {"median_step_seconds": 0.25, "validation_loss": None, "steps": 3, "loss_curve": [2.0, None, 1.0]},
    "trial_failed": TRIAL | {"code": "out_of_memory", "detail": "asked 9 GiB"},
    "block_finished": {"block": 1, "planned_blocks": 4, "speedups": {"bf16": INTERVAL, "fp16": None}},
    "blocks_reused": {"blocks": 2},
    "blocks_discarded": {"unpaired": 1, "measured_otherwise": 0},
    "cancelling": {},
    "handed_back": {"worker": "node:cpu"},
    "device_sick": {"worker": "node:cpu", "attempt": 1, "fault": "The driver cannot reach the GPU."},
    "worker_lost": {"worker": "node:cpu", "attempt": 1},
    "fault": {},
    "tracking_logged": {"tracker": "mlflow", "run_id": "1", "url": None},
    "tracking_failed": {"tracker": "wandb", "reason": "It is away."},
    "succeeded": {},
    "failed": FAILURE,
    "cancelled": {},
}

KINDS = pytest.mark.parametrize("kind", DATA)


def written_kinds():
    """The kinds that can be written: `events.append` takes nothing but these classes."""
    classes = [one for one in vars(event_data).values() if isinstance(one, type) and issubclass(one, EventData)]
    return {one.kind for one in classes if "kind" in vars(one)}


def as_sent(kind, data):
    return {"seq": 1, "created_at": MOMENT.isoformat(), "kind": kind, "data": data}


async def stored(client, benchmark, kind, data):
    """An event as another build wrote it."""
    statement = "INSERT INTO events (benchmark_id, seq, kind, data) VALUES (:id, 2, :kind, CAST(:data AS jsonb))"
    values = {"id": uuid.UUID(benchmark["id"]), "kind": kind, "data": json.dumps(data)}
    async with client.app.state.database.sessions.begin() as session:
        await session.execute(text(statement).bindparams(**values))


@pytest.fixture(scope="module")
def validator():
    document = create_app(Settings(database_url="postgresql://unused")).openapi()
    schema = {"$ref": "#/components/schemas/Event", "components": document["components"]}
    return Draft202012Validator(schema)


def test_every_kind_that_can_be_written_is_known_and_has_a_sample_and_words():
    assert written_kinds() == set(EVENTS) == set(DATA) == set(formats.EVENTS)


@KINDS
def test_every_kind_is_read_as_it_was_written(kind):
    written = data_of(kind, DATA[kind])
    assert (written.kind, written.as_json()) == (kind, DATA[kind])
    read = event(kind, written.as_json())
    assert type(read) is EVENTS[kind]
    assert (read.data, read.fields()) == (written, DATA[kind])
    assert EVENT.validate_json(read.model_dump_json(exclude_unset=True)) == read


def test_a_batch_size_is_left_out_of_trials_that_measure():
    measured = {"leg": "fp32", "block": 0, "phase": "measure", "code": "timeout", "detail": ""}
    assert data_of("trial_failed", measured | {"batch_size": None}).as_json() == measured


def test_a_failure_is_told_whole():
    failure = Failure.of(FailureCode.TIMEOUT, "It took too long.")
    assert event_data.Failed.of(failure).as_json() == failure.model_dump(mode="json") == FAILURE


def test_an_unknown_kind_keeps_its_data():
    read = event("paused", {"until": "noon", "by": {"name": "x"}})
    assert isinstance(read, UnknownEvent)
    assert (read.kind, read.fields()) == ("paused", {"until": "noon", "by": {"name": "x"}})


@KINDS
def test_an_unknown_field_is_kept(kind):
    read = event(kind, DATA[kind] | {"added_later": [1]})
    assert type(read) is EVENTS[kind]
    assert read.fields() == DATA[kind] | {"added_later": [1]}
    assert read.data.added_later == [1]


@pytest.mark.parametrize(("kind", "data"), [("trial_finished", {"leg": 5}), ("started", {}), ("failed", {})])
def test_data_that_is_not_that_of_its_kind_is_kept_as_it_is(kind, data):
    read = event(kind, data)
    assert isinstance(read, UnknownEvent)
    assert (read.kind, read.fields()) == (kind, data)


def test_a_failure_code_of_a_newer_server_is_kept():
    assert event("trial_failed", DATA["trial_failed"] | {"code": "melted"}).data.code == "melted"
    assert event("trial_failed", DATA["trial_failed"]).data.code is FailureCode.OUT_OF_MEMORY


@pytest.mark.parametrize("left_out", ["seq", "created_at", "kind", "data"])
def test_what_is_no_event_is_refused(left_out):
    sent = as_sent("queued", DATA["queued"])
    del sent[left_out]
    with pytest.raises(ValueError, match=left_out):
        EVENT.validate_python(sent)


@KINDS
def test_the_document_describes_every_kind(kind, validator):
    validator.validate(as_sent(kind, DATA[kind]))
    validator.validate(as_sent(kind, DATA[kind] | {"added_later": [1]}))
    required = EVENTS[kind].model_fields["data"].annotation.model_json_schema().get("required", [])
    for name in required:
        less = {field: value for field, value in DATA[kind].items() if field != name}
        assert not validator.is_valid(as_sent(kind, less))


def test_the_document_tells_kinds_apart_and_lets_new_ones_pass(validator):
    schema = validator.schema["components"]["schemas"]["Event"]
    discriminator = schema["discriminator"]
    assert discriminator["propertyName"] == "kind"
    assert set(discriminator["mapping"]) == set(EVENTS)
    unknown = "#/components/schemas/UnknownEvent"
    assert {one["$ref"] for one in schema["oneOf"]} == {*discriminator["mapping"].values(), unknown}
    validator.validate(as_sent("paused", {"until": "noon"}))


@pytest.mark.parametrize(
    ("kind", "data"),
    [("paused", {"until": "noon"}), ("started", {"worker": None}), ("block_finished", {"block": 0, "later": 1.0})],
)
async def test_events_are_sent_as_they_are_stored_and_no_page_breaks_over_them(client, kind, data):
    benchmark = await post(client)
    await stored(client, benchmark, kind, data)
    response = await client.get(f"/benchmarks/{benchmark['id']}/events")
    _, sent = response.json()["items"]
    assert (list(sent), sent["kind"], sent["data"]) == (["seq", "created_at", "kind", "data"], kind, data)
    _, read = EventPage.model_validate(response.json()).items
    assert isinstance(read, UnknownEvent)
    assert formats.format_event(read) in (await see(client, page_of(benchmark))).text


def test_a_page_listens_for_known_kinds_alone():
    script = (Path(app.web.__file__).parent / "static" / "live.js").read_text()
    (listed,) = re.findall(r"const KINDS = \[(.*?)\];", script, re.DOTALL)
    assert set(re.findall(r'"(\w+)"', listed)) - {"progress"} < set(EVENTS)
