"""The examples of the OpenAPI document are true: valid, accepted, and what the service answers."""

import json
import re
from itertools import chain
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

import app.routes.openapi
from app.background import queues
from app.main import create_app
from app.routes.openapi.document import SUMMARY
from app.settings import Settings
from tests.app.routes.recording import HOOK_HOST, record
from tests.app.routes.shortening import shortened, written

pytestmark = pytest.mark.anyio

FOLDER = Path(app.routes.openapi.__file__).parent
REQUESTS = json.loads((FOLDER / "requests.json").read_text())
SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture(scope="module")
def document():
    return create_app(Settings(database_url="postgresql://unused")).openapi()


@pytest.fixture
def settings(database_url):
    url = database_url.render_as_string(hide_password=False)
    return Settings(database_url=url, webhook_allowed_hosts=HOOK_HOST, webhook_secret=SECRET)


def operations(document):
    paths = document["paths"] | document["webhooks"]
    return {f"{method} {path}": one for path, methods in paths.items() for method, one in methods.items()}


def contents(operation):
    """Every body of an operation: what it is of, its media type, and what the document says of it."""
    bodies = [("body", operation.get("requestBody", {})), *operation["responses"].items()]
    return [(status, kind, media) for status, body in bodies for kind, media in body.get("content", {}).items()]


def shape(value):
    """What is the same in every run: the keys, and a text without what has a digit in it."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(part), sort_keys=True) for part in value})
    return re.sub(r"\S*\d\S*", "…", value) if isinstance(value, str) and "\n" in value else type(value).__name__


def test_every_example_validates_against_the_schema_of_its_place(document):
    faults = []
    for name, operation in operations(document).items():
        parameters = [
            (one["name"], one["schema"], one["example"]) for one in operation.get("parameters", []) if "example" in one
        ]
        bodies = [
            (f"{status} {kind}", media.get("schema", {}), example["value"])
            for status, kind, media in contents(operation)
            for example in media.get("examples", {}).values()
        ]
        for place, schema, value in chain(parameters, bodies):
            validator = Draft202012Validator(schema | {"components": document["components"]})
            faults += [f"{name} {place}: {fault.message}" for fault in validator.iter_errors(value)]
    assert faults == []


def test_every_body_and_every_answer_of_an_operation_has_an_example(document):
    missing = [
        f"{name} {status} {kind}"
        for name, operation in operations(document).items()
        for status, kind, media in contents(operation)
        if (status == "body" or status < "300") and not media.get("examples")
    ]
    assert missing == []


def test_an_answer_says_that_it_is_an_example(document):
    for operation in operations(document).values():
        for status, _, media in contents(operation):
            if status != "body":
                assert all(example["summary"] == SUMMARY for example in media.get("examples", {}).values())


def test_the_recorded_answers_are_as_short_as_the_recorder_makes_them():
    text = (FOLDER / "answers.json").read_text()
    answers = json.loads(text)
    assert text == written(answers) + "\n"
    assert answers == shortened(answers)


async def test_the_service_answers_as_the_examples_say(client, monkeypatch, tmp_path):
    monkeypatch.setattr(queues, "START_SECONDS", 0.01)
    answers = await record(client, monkeypatch)
    fresh = tmp_path / "answers.json"
    fresh.write_text(written(answers) + "\n")
    known = json.loads((FOLDER / "answers.json").read_text())
    other = [name for name in known | answers if shape(known.get(name)) != shape(answers.get(name))]
    assert other == [], f"if the change is meant: cp {fresh} {FOLDER / 'answers.json'}"


@pytest.mark.parametrize(
    ("operation", "name"), [(one, name) for one, named in REQUESTS["bodies"].items() for name in named]
)
async def test_a_request_of_the_examples_is_accepted(client, operation, name):
    body = REQUESTS["bodies"][operation][name]["value"]
    assert (await client.post(operation.split()[1], json=body)).status_code == 202


async def test_the_parameters_of_the_examples_are_accepted(client, document):
    listed = document["paths"]["/benchmarks"]["get"]["parameters"]
    given = {one["name"]: one["example"] for one in listed if "example" in one}
    assert len(given) > 5
    assert (await client.get("/benchmarks", params=given)).status_code == 200


def test_nothing_is_read_before_the_document_is_asked_for():
    assert create_app(Settings(database_url="postgresql://unused")).openapi_schema is None
