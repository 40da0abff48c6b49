"""Every command and every line of Python in docs/api.md works against real processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

from app import errors
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text()


def blocks(language):
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL))


def run(command, source, service, folder):
    environment = os.environ | {"HALFTIME_SERVER": service.url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, input=source, text=True, capture_output=True, cwd=folder, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_every_command_works(service, tmp_path):
    script = blocks("bash").replace("HALFTIME=http://127.0.0.1:8000", f"HALFTIME={service.url}")
    run(["bash", "-euo", "pipefail", "-s"], script, service, tmp_path)


def test_every_line_of_python_works(service, tmp_path):
    run([sys.executable, "-"], blocks("python"), service, tmp_path)


def test_every_operation_is_described():
    document = create_app(Settings(database_url="postgresql://unused")).openapi()
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    named = set(re.findall(r"`((?:GET|POST|DELETE) /[^\s`?]*)", PAGE))
    assert operations - named == set()


def test_every_problem_is_listed_with_its_status():
    def leaves(kind):
        return [leaf for below in kind.__subclasses__() for leaf in leaves(below)] + [kind]

    known = {(kind.code, str(kind.status)) for kind in leaves(errors.HalftimeError) if hasattr(kind, "code")}
    assert set(re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE)) == known
