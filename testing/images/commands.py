"""Other programs, and what they said where they failed."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

#: How much of what a failed program said is worth reading.
SAID_CHARACTERS = 2000

PATIENCE_SECONDS = 1800.0


class CommandFailed(Exception):
    """A program that ended in another exit code than 0, or not at all."""


def run(
    *words: str | Path,
    environment: Mapping[str, str] | None = None,
    given: bytes | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> str:
    """What a program says on standard output. Raises CommandFailed."""
    code, said, complaint = outcome(*words, environment=environment, given=given, patience_seconds=patience_seconds)
    if code != 0:
        raise CommandFailed(f"{' '.join(map(str, words))}\nended in {code}:\n{(said + complaint)[-SAID_CHARACTERS:]}")
    return said.strip()


def outcome(
    *words: str | Path,
    environment: Mapping[str, str] | None = None,
    given: bytes | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> tuple[int, str, str]:
    """The exit code, standard output and standard error of a program. Raises CommandFailed where it does not end."""
    try:
        done = subprocess.run(
            list(words), env=environment, input=given, capture_output=True, check=False, timeout=patience_seconds
        )
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        raise CommandFailed(str(error)) from error
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
