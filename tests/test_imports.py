"""Modules that the service, the client and the worker may not load."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "transformer.json"


def loads_none_of(modules, never):
    code = (
        f"import sys; import {modules}; "
        f"loaded = {never} & {{name.split('.')[0] for name in sys.modules}}; "
        "sys.exit(str(loaded) if loaded else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_app_never_imports_torch_nor_the_worker():
    loads_none_of(
        "app.main, app.cli, halftime.client",
        {"torch", "worker", "numpy", "scipy", "transformers", "altair", "vl_convert"},
    )


def test_the_client_never_imports_the_server():
    served = {"fastapi", "starlette", "uvicorn", "sqlalchemy", "psycopg", "procrastinate", "alembic", "jinja2", "typer"}
    served |= {"altair", "vl_convert"}
    loads_none_of("halftime.client", served)


def test_a_worker_needs_torch_only_for_trials():
    started = "worker.__main__, worker.agent.launcher, worker.agent.worker, worker.device.detection"
    loads_none_of(started, {"torch", "transformers", "numpy"})


#: Runs code where only the packages that `pip install halftime` brings can be imported.
BASE_INSTALLATION = """
import sys, tomllib
from importlib.metadata import packages_distributions, requires
from packaging.requirements import Requirement

BASE = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]

def closure(name, brought):
    if name not in brought:
        brought.add(name)
        for line in (BASE if name == "halftime" else requires(name)) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                closure(requirement.name.lower().replace("_", "-"), brought)
    return brought

brought = closure("halftime", set())
distributions = packages_distributions()

class OnlyWhatIsBrought:
    def find_spec(self, name, path=None, target=None):
        owners = {owner.lower().replace("_", "-") for owner in distributions.get(name.partition(".")[0], [])}
        if owners and not owners & brought:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyWhatIsBrought())
"""


def in_base_installation(code):
    return subprocess.run([sys.executable, "-c", BASE_INSTALLATION + code], capture_output=True, text=True, check=False)


def command(*arguments):
    return in_base_installation(f"from app.cli import main; sys.argv = ['halftime', *{arguments!r}]; main()")


def test_the_base_installation_brings_the_client_and_no_service():
    result = in_base_installation(
        "from halftime import AsyncClient, Client; import halftime.plugin; print(sorted(brought))"
    )
    assert result.returncode == 0, result.stderr
    for name in ("torch", "sqlalchemy", "psycopg", "altair", "procrastinate", "fastapi", "jinja2"):
        assert f"'{name}'" not in result.stdout


def test_the_base_installation_has_the_commands_against_a_server():
    listed = command("--help")
    assert listed.returncode == 0, listed.stderr
    assert "halftime[server]" in listed.stdout
    unreachable = command("list", "--server", "http://127.0.0.1:9")
    assert "No answer from http://127.0.0.1:9" in unreachable.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("serve",), "server"),
        (("keys", "create", "ci"), "server"),
        (("up", "--device", "cpu"), "worker"),
        (("worker",), "worker"),
        (("run", str(EXAMPLE)), "worker"),
    ],
)
def test_a_command_that_needs_an_extra_says_which(arguments, extra):
    result = command(*arguments)
    assert result.returncode == 2, result.stderr
    assert f"pip install 'halftime[{extra}]'" in " ".join(result.stderr.split())


def test_a_chart_without_its_extra_says_which():
    code = "from halftime.client.notebook import Charts; Charts(None).loss()"
    assert "pip install 'halftime[charts]'" in in_base_installation(code).stderr


def test_a_program_with_its_own_app_and_worker_uses_the_client(tmp_path):
    for name in ("app", "worker"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWN = True\n")
    code = "import app, worker, halftime; halftime.Client, halftime.AsyncClient; assert app.OWN and worker.OWN; "
    code += "import halftime.plugin; print([name for name in sys.modules if name.startswith(('app.', 'worker.'))])"
    result = subprocess.run(
        [sys.executable, "-c", "import sys; " + code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("folder", "never"), [("tests", "benchmarks"), ("benchmarks", "tests"), ("testing", "tests|benchmarks")]
)
def test_tests_and_benchmarks_share_code_only_through_testing(folder, never):
    line = re.compile(rf"^\s*(from|import) ({never})\b", re.MULTILINE)
    assert [path for path in (ROOT / folder).rglob("*.py") if line.search(path.read_text())] == []
