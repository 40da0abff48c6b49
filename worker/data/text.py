"""Byte-level language modelling of real text."""

import codecs
import os
import sysconfig
from pathlib import Path

import torch
from torch import Tensor

from app.settings import Settings
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import TextData
from halftime.plugin import CausalTokens, DataShape, Part
from worker.data.files import invalid, open_data_file
from worker.errors import TrialFailed

BYTE_VALUES = 256

#: Share of the text, at its end, that is never trained on.
HELD_OUT_SHARE = 0.1

#: Most bytes that are read of the standard library's sources.
LIBRARY_BYTES = 8 * 2**20

#: Folders that are not sources of the library itself: installed packages, and tests with generated tables.
LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"})


#: Byte order marks of encodings with two or four bytes per character.
WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class TextSource:
    """A sample is a window of the text; the target at each position is the next byte.

    Windows are drawn uniformly from a part: the last tenth of the text is for validation, the rest for training.
    """

    best_possible_loss: float | None = None
    best_possible_accuracy: float | None = None

    def __init__(self, text: bytes, sequence_length: int) -> None:
        self.sequence_length = sequence_length
        self.sample_bytes = 2 * 8 * sequence_length
        everything = torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(0, dtype=torch.uint8)
        held_out = int(len(text) * HELD_OUT_SHARE)
        self._parts: dict[Part, Tensor] = {
            "training": everything[: len(text) - held_out],
            "validation": everything[len(text) - held_out :],
        }
        if held_out <= sequence_length:
            least = int((sequence_length + 1) / HELD_OUT_SHARE) + 1
            raise _invalid(
                f"The text has {len(text):,} bytes. Its last tenth is held out and must contain {sequence_length} "
                f"tokens and the next one. Use at least {least:,} bytes, or a shorter sequence."
            )

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs and targets, both (count, sequence_length), int64."""
        text = self._parts[part]
        starts = torch.randint(len(text) - self.sequence_length, (count, 1), generator=generator)
        windows = text[starts + torch.arange(self.sequence_length + 1)].long()
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def text_source(shape: DataShape, config: TextData) -> TextSource:
    """Creates the source of a request's text. Raises TrialFailed (`invalid_data`)."""
    if not isinstance(shape, CausalTokens):
        raise _invalid("Text data requires a causal language model, such as the kind `transformer`.")
    if shape.vocab_size < BYTE_VALUES:
        raise _invalid(f"Text is read as bytes: set vocab_size to {BYTE_VALUES} or more, not {shape.vocab_size}.")
    if config.name is None:
        return TextSource(library_text(Path(sysconfig.get_path("stdlib"))), shape.length)
    with open_data_file(config.name, Settings().datasets_dir) as file:
        text = file.read()
    if not text:
        raise invalid(config.name, "is empty")
    if text.startswith(WIDE_MARKS):
        raise invalid(config.name, "is text in UTF-16 or UTF-32. Convert it to UTF-8")
    return TextSource(text, shape.length)


def library_text(root: Path, max_bytes: int = LIBRARY_BYTES) -> bytes:
    """Concatenates the Python sources below a directory in the order of their paths, up to `max_bytes`."""
    paths: list[Path] = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in LEFT_OUT]
        paths += [Path(folder, name) for name in names if name.endswith(".py")]
    text = bytearray()
    for path in sorted(paths):
        text += path.read_bytes()
        if len(text) >= max_bytes:
            break
    return bytes(text[:max_bytes])


def _invalid(why: str) -> TrialFailed:
    return TrialFailed.because(FailureCode.INVALID_DATA, why)
