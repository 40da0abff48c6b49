"""Samples from the arrays of a file."""

from collections.abc import Callable

import numpy
import torch
from torch import Tensor

from app.settings import Settings
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import ArraysData
from halftime.plugin import DataShape, Part
from worker.data.array_files import FileArray, read_arrays
from worker.data.files import open_data_file
from worker.data.layout import Layout, LayoutMismatch, check_inputs, check_targets, layout_of
from worker.errors import TrialFailed

#: Share of the samples, at the end, that is held out if the file has no validation arrays.
HELD_OUT_SHARE = 0.1

REQUIRED = ("inputs", "targets")
VALIDATION = ("validation_inputs", "validation_targets")

Samples = tuple[Tensor, Tensor]


class ArraysSource:
    """Draws training samples with replacement, and held-out ones without, until all have been used."""

    best_possible_loss: float | None = None
    best_possible_accuracy: float | None = None

    def __init__(self, training: Samples, validation: Samples, layout: Layout) -> None:
        self._parts: dict[Part, Samples] = {"training": training, "validation": validation}
        self._input_dtype = torch.float32 if layout.vocab_size is None else torch.int64
        inputs, targets = training
        self.sample_bytes = inputs[0].numel() * self._input_dtype.itemsize + targets[0].numel() * 8

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws inputs of the model's shape, float32 or int64, and targets, int64."""
        inputs, targets = self._parts[part]
        if part == "training":
            places = torch.randint(len(inputs), (count,), generator=generator)
        else:
            rounds = -(-count // len(inputs))
            places = torch.cat([torch.randperm(len(inputs), generator=generator) for _ in range(rounds)])[:count]
        return inputs[places].to(self._input_dtype), targets[places].long()


def arrays_source(shape: DataShape, config: ArraysData) -> ArraysSource:
    """Creates the source of a request's arrays. Raises TrialFailed (`invalid_data`) naming the array."""
    with open_data_file(config.name, Settings().datasets_dir) as file:
        arrays = read_arrays(file, config.name, (*REQUIRED, *VALIDATION))
    layout = layout_of(shape)
    try:
        training = _samples(arrays, REQUIRED, layout)
        if any(name in arrays for name in VALIDATION):
            return ArraysSource(training, _samples(arrays, VALIDATION, layout), layout)
        return ArraysSource(*_held_out(training), layout)
    except LayoutMismatch as error:
        raise TrialFailed.because(FailureCode.INVALID_DATA, f"The data file {config.name!r}: {error}.") from error


def _samples(arrays: dict[str, FileArray], names: tuple[str, str], layout: Layout) -> Samples:
    convert_inputs = _floats if layout.vocab_size is None else _integers
    inputs = _checked(arrays, names[0], convert_inputs, lambda values: check_inputs(values, layout))
    targets = _checked(arrays, names[1], _integers, lambda values: check_targets(values, layout))
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise LayoutMismatch(
            f"`{names[0]}` has {len(inputs)} samples, but `{names[1]}` has {len(targets)}; both need the same number"
        )
    return inputs, targets


def _checked(
    arrays: dict[str, FileArray],
    name: str,
    convert: Callable[[FileArray], Tensor],
    check: Callable[[Tensor], None],
) -> Tensor:
    """Returns an array as a tensor that fits the model. Raises LayoutMismatch that begins with its name."""
    if name not in arrays:
        raise LayoutMismatch(
            f"array `{name}` is missing; present: {', '.join(sorted(arrays)) or 'none of the known names'}"
        )
    try:
        tensor = convert(arrays[name])
        check(tensor)
    except LayoutMismatch as error:
        raise LayoutMismatch(f"`{name}` {error}") from error
    return tensor


def _floats(array: FileArray) -> Tensor:
    """Converts floats of any width and byte order to FP32."""
    if array.values.dtype.kind != "f":
        raise LayoutMismatch(f"must be floats, not {array.dtype}. Save it as float32, scaled as the model shall see it")
    with numpy.errstate(over="ignore"):  # values beyond FP32 become infinite, which the check rejects
        return torch.from_numpy(array.values.astype(numpy.float32, copy=False))


def _integers(array: FileArray) -> Tensor:
    """Converts integers of any width and byte order to the narrowest type that torch computes with."""
    values = array.values
    if values.dtype.kind not in "iu":
        raise LayoutMismatch(f"must be integers, not {array.dtype}. Save it as int64")
    narrow = numpy.int32 if values.dtype.itemsize < 4 or values.dtype == numpy.int32 else numpy.int64
    if values.dtype.kind == "u" and values.size and int(values.max()) > numpy.iinfo(narrow).max:
        raise LayoutMismatch(f"contains {int(values.max())}, which is too large for a label or token id")
    return torch.from_numpy(values.astype(narrow, copy=False))


def _held_out(samples: Samples) -> tuple[Samples, Samples]:
    inputs, targets = samples
    if len(inputs) < 2:
        raise LayoutMismatch("`inputs` has one sample; at least two are needed, one of them to hold out")
    training = len(inputs) - max(1, int(len(inputs) * HELD_OUT_SHARE))
    return (inputs[:training], targets[:training]), (inputs[training:], targets[training:])
