"""The documents agree with the code."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.main import get_command

import halftime.client
import worker.agent.worker
from app import main
from app.cli import cli
from app.settings import Settings
from halftime.client import AsyncClient, Client
from halftime.contract.models import MODEL_KINDS
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import DATA_KINDS, LoaderConfig
from halftime.contract.request.request import BenchmarkConfig, BenchmarkRequest, MeasurementConfig, Requirements
from halftime.contract.request.training import CompileConfig, GradScalerConfig, TrainingConfig
from halftime.contract.resources.benchmark import TERMINAL, Status
from halftime.contract.resources.sweep import SweepRequest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]

README = (ROOT / "README.md").read_text()
API = (DOCS / "api.md").read_text()
CLI = (DOCS / "cli.md").read_text()
CONFIGURATION = (DOCS / "configuration.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()
REQUESTS = (DOCS / "requests.md").read_text()
RESULTS = (DOCS / "results.md").read_text()
SCALING = (DOCS / "scaling.md").read_text()

#: Maximum length of the README: a short overview with links to the rest.
README_LINES = 120

#: Variables of the client and the command line, besides the settings.
CLIENT_VARIABLES = {"SERVER", "API_KEY"}

#: A path of the code in a page; records of first contacts are excluded, because a command writes them.
CODE_PATH = re.compile(
    r"`((?:app|halftime|worker|tests|testing|examples|deploy|benchmarks(?!/results/first_contact))/[\w/.-]*)`"
)


def section(page: str, heading: str) -> str:
    """Part of a page from a heading to the next one of its level or above."""
    level = heading.split(" ", maxsplit=1)[0]
    _, below = page.split(f"\n{heading}\n")
    return re.split(rf"^#{{1,{len(level)}}} ", below, flags=re.MULTILINE)[0]


def first_cells(text: str) -> list[str]:
    """Code in the first cell of each table row."""
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def prose(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)


def anchors(page: str) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    counts: Counter[str] = Counter()
    anchor_names = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        anchor_names.add(f"{slug}-{counts[slug]}" if counts[slug] else slug)
        counts[slug] += 1
    return anchor_names


def targets(page: str) -> Iterator[str]:
    """Relative links and images of a page."""
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", prose(page)):
        link = "".join(target)
        if not re.match(r"[a-z]+:", link):
            yield link


def test_the_readme_is_short():
    assert len(README.splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    for target in targets(page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


def test_anchors_are_those_of_github():
    page = "# `GET /a`, twice\n## Twice\n```\n# no heading\n```\n## Twice\n### [A link](b.md) & more\n"
    assert anchors(page) == {"get-a-twice", "twice", "twice-1", "a-link--more"}


def test_every_page_is_in_the_index():
    linked = set(targets((DOCS / "index.md").read_text()))
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} <= linked
    assert {f"docs/{path.name}" for path in DOCS.glob("*.md")} <= {
        target.partition("#")[0] for target in targets(README)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_of_code_that_a_page_names_exists(page):
    for path in CODE_PATH.findall(page.read_text()):
        assert (ROOT / path).exists(), path


def test_every_setting_has_its_row_with_its_default():
    rows = dict(re.findall(r"^\| `HALFTIME_(\w+)` \| (.*?) \|", CONFIGURATION, re.MULTILINE))
    assert set(rows) == {name.upper() for name in Settings.model_fields} | CLIENT_VARIABLES
    for name, field in Settings.model_fields.items():
        if name in {"database_url", "data_dir", "datasets_dir", "cors_origins"}:
            continue
        if name in {"allowed_hosts", "webhook_allowed_hosts", "webhook_secret", "retention_days"}:
            assert (rows[name.upper()], field.default or None) == ("none", None)
            continue
        assert rows[name.upper()] == f"`{field.default}`".lower(), name


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("# What a request can say", BenchmarkRequest),
        ("## Config", BenchmarkConfig),
        ("### Data", LoaderConfig),
        ("### Training", TrainingConfig),
        ("### Training", CompileConfig),
        ("### Training", GradScalerConfig),
        ("### Measurement", MeasurementConfig),
        ("## Requirements", Requirements),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_field_of_a_request_has_its_row_with_its_default(heading, model):
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section(f"\n{REQUESTS}", heading), re.MULTILINE))
    for name, field in model.model_fields.items():
        assert name in rows, name
        if rows[name].startswith("`"):
            assert rows[name] == f"`{json.dumps(field.get_default())}`", name


def test_every_kind_of_model_and_data_and_every_precision_is_described():
    kinds, *_ = section(REQUESTS, "## Model").split("\n### ")
    models = re.findall(r"^\| (`.*?`) \|", kinds, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(models))) - {"model.kind"} == MODEL_KINDS.keys()
    assert DATA_KINDS.keys() <= set(first_cells(section(REQUESTS, "### Data")))
    assert first_cells(section(REQUESTS, "## Precisions")) == list(get_args(PrecisionName))


def test_every_failure_code_is_explained():
    assert set(first_cells(section(API, "## Failures"))) == {code.value for code in FailureCode}


def test_every_kind_of_event_is_explained():
    everywhere, measuring = (
        "\n".join(path.read_text() for room in rooms for path in sorted((ROOT / room).rglob("*.py")))
        for rooms in (("app", "halftime", "worker"), ("worker",))
    )
    written = re.findall(r'events\.append\(session, row, "(\w+)"|claims\.record, claim, "(\w+)"', everywhere)
    chosen = re.findall(r'\bkind = "(\w+)"(?: if .* else "(\w+)")?$', measuring, re.MULTILINE)
    typed = re.findall(r'^    kind: Literal\["(\w+)"\]()', _events_of_the_contract(), re.MULTILINE)
    explained = first_cells(section(API, "## Events"))
    assert {kind for names in [*written, *chosen, *typed] for kind in names if kind} <= set(explained)
    assert [kind for kind in explained if f'"{kind}"' not in everywhere] == []
    assert {"queued", *TERMINAL} <= set(explained)


def _events_of_the_contract() -> str:
    page = ROOT / "halftime" / "contract" / "events.py"
    return page.read_text() if page.exists() else ""


def test_every_status_is_in_the_diagram():
    diagram = section((DOCS / "architecture.md").read_text(), "## States of a benchmark")
    assert set(re.findall(r"^ +(\w+) -->|--> (\w+):", diagram, re.MULTILINE)) >= {
        (status, "") for status in get_args(Status)
    }


def commands() -> dict[str, set[str]]:
    """Every command's name → its options."""

    def walk(command, path):
        options = {name for one in command.params if one.param_type_name == "option" for name in one.opts}
        if not path[1:]:
            options |= {"--help"}
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield " ".join(path), options
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, [*path, name])

    return dict(walk(get_command(cli), ["halftime"]))


@pytest.mark.parametrize(
    ("command", "options"), commands().items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_its_section_with_its_options(command, options):
    headings = re.findall(rf"^### `{command}(?: [A-Z_ ]+)?`$", CLI, re.MULTILINE)
    assert len(headings) == 1
    text = section(CLI, headings[0])
    also = re.findall(r"`(--[a-z-]+)`", " ".join(re.findall(r"Also (.*)\.", text)))
    assert {*also, *(cell for cell in first_cells(text) if cell.startswith("--"))} == options


def test_the_options_of_the_command_itself_are_described():
    (group,) = [get_command(cli)]
    names = {name for one in group.params for name in one.opts}
    assert names
    assert {name for name in names if f"`{name}`" not in CLI} == set()
    named = set(re.findall(r"^### `(halftime [a-z ]*[a-z])", CLI, re.MULTILINE))
    assert named == commands().keys()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_method_of_the_client_is_described(kind):
    page = (DOCS / "python.md").read_text()
    described = {
        name
        for row in re.findall(r"^\| (.*?) \|", section(page, "## Client"), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    methods = {name for name in vars(kind) if not name.startswith("_")} - {"close", "send", "perform"}
    assert methods == described


def test_every_exception_of_the_client_is_described():
    page = (DOCS / "python.md").read_text()
    names = {name for name in halftime.client.__all__ if isinstance(getattr(halftime.client, name), type)} - {
        "Client",
        "AsyncClient",
    }
    assert set(first_cells(section(page, "## Errors and retries"))) == names


def test_every_alert_says_what_to_do():
    rules = yaml.safe_load((ROOT / "deploy/prometheus/halftime.rules.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert set(re.findall(r"^\| `(Halftime\w+)` \|", OPERATIONS, re.MULTILINE)) == alerts


def test_readers_of_advice_learn_that_its_request_has_no_webhook():
    assert "no webhook" in section(RESULTS, "## Reading an explanation")


def test_documented_connection_counts_match_the_code():
    rows = dict(re.findall(r"^\| (API|worker) \| (\d+) \|", SCALING, re.MULTILINE))
    # The API also listens for notifications, and its queue worker has two; a worker's queue uses the pool, and listens.
    assert rows == {"API": str(main.POOL_SIZE + 1 + 2), "worker": str(worker.agent.worker.POOL_SIZE + 1)}
    assert f"{rows['API']} *a* + {rows['worker']} *w*" in SCALING


def test_results_that_scaling_quotes_exist():
    for name in re.findall(r"`(\w+\.cpu\.json)`", SCALING):
        assert (ROOT / "benchmarks" / "results" / name).exists(), name


def test_every_result_is_on_the_page_of_results():
    linked = {Path(target).name for target in targets((DOCS / "results.md").read_text())}
    assert {path.name for path in (ROOT / "benchmarks" / "results").glob("*.json")} <= linked


def test_every_make_target_named_exists():
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"(?:`|\$ )make (\w[\w-]*)", page.read_text())) <= known, page.name


@pytest.mark.parametrize(
    "path",
    sorted(path for path in (ROOT / "examples").rglob("*") if path.suffix in {".json", ".yaml"}),
    ids=lambda path: path.name,
)
def test_every_example_is_a_valid_request(path):
    BenchmarkRequest.model_validate_json(json.dumps(yaml.safe_load(path.read_text())))


def test_the_requests_shown_are_valid():
    pages = [README, REQUESTS, API, (DOCS / "tracking.md").read_text(), (DOCS / "plugins.md").read_text()]
    shown = "\n".join(pages)
    bodies = re.findall(r"-d '(\{.*?\})'|^```json\n(\{.*?\})\n```", shown, re.DOTALL | re.MULTILINE)
    bodies = ["".join(body) for body in bodies if '"hidden_size": 0' not in "".join(body)]
    assert len(bodies) == 6
    for body in bodies:
        (SweepRequest if '"vary"' in body else BenchmarkRequest).model_validate_json(body)
