"""Runs other programs; errors contain their output."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

#: Characters of a failed program's output in the error.
OUTPUT_CHARACTERS = 2000

PATIENCE_SECONDS = 1800.0


class CommandFailed(Exception):
    """A program's exit code was not 0, or it did not end."""


def run(
    *words: str | Path,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> str:
    """Run a program and return its standard output. Raises CommandFailed."""
    code, output, errors = outcome(*words, environment=environment, stdin=stdin, patience_seconds=patience_seconds)
    if code != 0:
        raise CommandFailed(f"{' '.join(map(str, words))}\nended in {code}:\n{(output + errors)[-OUTPUT_CHARACTERS:]}")
    return output.strip()


def outcome(
    *words: str | Path,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> tuple[int, str, str]:
    """Run a program; return exit code, standard output and standard error. Raises CommandFailed if it does not end."""
    try:
        result = subprocess.run(
            list(words), env=environment, input=stdin, capture_output=True, check=False, timeout=patience_seconds
        )
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        raise CommandFailed(str(error)) from error
    return result.returncode, result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace")
