"""The record: a line for everything that was seen, in the file the moment it is known."""

import time
from dataclasses import dataclass
from pathlib import Path

from testing.first_contact.lines import LINE, Line

NAME = "record.jsonl"


@dataclass(frozen=True)
class Record:
    """Appends to one file, from any process: a line is one write, so a cut run keeps every line before the cut."""

    path: Path
    began: float

    def write(self, line: Line) -> None:
        """The line, with its time."""
        timed = line.model_copy(update={"at_seconds": round(time.monotonic() - self.began, 3)})
        with self.path.open("ab", buffering=0) as file:
            file.write(timed.model_dump_json().encode() + b"\n")


def read(path: Path) -> list[Line]:
    """The lines of a record. One that was cut within its last line is read without it."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [LINE.validate_json(line) for line in whole.splitlines()]
