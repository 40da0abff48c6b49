"""The documents say what the code does."""

import json
import re
from pathlib import Path

import pytest
import yaml

import worker.agent.worker
from app import main
from app.settings import Settings
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.sweep import SweepRequest

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()
SCALING = (ROOT / "docs" / "scaling.md").read_text()


def test_every_setting_has_its_row_with_its_default():
    rows = dict(re.findall(r"^\| `HALFTIME_(\w+)` \| (.*?) \|", README, re.MULTILINE))
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if name in {"database_url", "data_dir", "datasets_dir", "cors_origins"}:
            continue
        if name in {"allowed_hosts", "webhook_allowed_hosts", "webhook_secret", "retention_days"}:
            assert (rows[name.upper()], field.default or None) == ("none", None)
            continue
        assert rows[name.upper()] == f"`{field.default}`".lower(), name


def test_every_alert_says_what_to_do():
    rules = yaml.safe_load((ROOT / "deploy/prometheus/halftime.rules.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert set(re.findall(r"^\| `(Halftime\w+)` \|", OPERATIONS, re.MULTILINE)) == alerts


def test_connections_to_plan_for_are_those_that_processes_hold():
    rows = dict(re.findall(r"^\| (API|worker) \| (\d+) \|", SCALING, re.MULTILINE))
    # The API also listens for changes, and its queue worker has two; a worker's queue works on the pool, and listens.
    assert rows == {"API": str(main.POOL_SIZE + 1 + 2), "worker": str(worker.agent.worker.POOL_SIZE + 1)}
    assert f"{rows['API']} *a* + {rows['worker']} *w*" in SCALING


def test_results_that_scaling_quotes_exist():
    for name in re.findall(r"`(\w+\.cpu\.json)`", SCALING):
        assert (ROOT / "benchmarks" / "results" / name).exists(), name


def test_every_failure_code_is_explained():
    explained = set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))
    assert {code.value for code in FailureCode} <= explained


def test_every_make_target_named_exists():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = README + (ROOT / "docs" / "first_contact.md").read_text()
    assert set(re.findall(r"`?make (\w[\w-]*)", pages)) <= targets


@pytest.mark.parametrize(
    "path",
    sorted(path for path in (ROOT / "examples").rglob("*") if path.suffix in {".json", ".yaml"}),
    ids=lambda path: path.name,
)
def test_every_example_is_a_valid_request(path):
    BenchmarkRequest.model_validate_json(json.dumps(yaml.safe_load(path.read_text())))


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_path_a_page_links_to_exists(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_requests_shown_are_valid():
    bodies = re.findall(r"-d '(\{.*?\})'", README, re.DOTALL)
    assert bodies
    for body in bodies:
        (SweepRequest if '"vary"' in body else BenchmarkRequest).model_validate_json(body)
