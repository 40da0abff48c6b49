"""The record: one line for each observation, written to the file at once."""

import time
from dataclasses import dataclass
from pathlib import Path

from testing.first_contact.lines import LINE, Line

NAME = "record.jsonl"


@dataclass(frozen=True)
class Record:
    """Appends to one file from any process: a line is one write, so an interrupted run keeps all lines before."""

    path: Path
    began: float

    def write(self, line: Line) -> None:
        """Write the line with its time."""
        timed = line.model_copy(update={"at_seconds": round(time.monotonic() - self.began, 3)})
        with self.path.open("ab", buffering=0) as file:
            file.write(timed.model_dump_json().encode() + b"\n")


def read(path: Path) -> list[Line]:
    """Lines of a record. An incomplete last line is left out."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [LINE.validate_json(line) for line in whole.splitlines()]
