"""Requests that schemathesis generates from a running service's OpenAPI document, with all checks enabled."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CONFIG = Path(__file__).parent / "schemathesis.toml"

#: Phases of a short run; a long one also tries every boundary of every field.
SHORT, LONG = "examples,fuzzing,stateful", "examples,coverage,fuzzing,stateful"


@dataclass(frozen=True)
class Generated:
    """Result of a run."""

    passed: bool
    requests: int
    printed: str


def generate(url: str, key: str, cases: int, phases: str) -> Generated:
    """Generate this many cases of each operation; the same ones in each run."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", f"{url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--checks", "all", "--max-examples", str(cases)]
    command += ["--phases", phases, "--no-color", "--generation-deterministic"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    match = re.search(r"([\d,]+) generated", result.stdout)
    return Generated(result.returncode == 0, int(match[1].replace(",", "")) if match else 0, result.stdout)
