"""Samples from arrays in a file."""

from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from app.settings import Settings
from halftime.contract.report.failure import FailureCode
from halftime.contract.request.data import ArraysData
from halftime.plugin import DataShape, Part
from worker.data.array_files import read_arrays
from worker.data.files import open_data_file
from worker.data.layout import Layout, Misfit, check_inputs, check_targets, layout_of
from worker.errors import TrialFailed

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Of the samples, from the end, where the file has no validation arrays of its own.
HELD_OUT_SHARE = 0.1

REQUIRED = ("inputs", "targets")
VALIDATION = ("validation_inputs", "validation_targets")

Samples = tuple[Tensor, Tensor]


class ArraysSource:
    """Training samples are drawn with replacement; held-out ones each once before any comes again."""

    best_possible_loss: float | None = None
    best_possible_accuracy: float | None = None

    def __init__(self, training: Samples, validation: Samples, layout: Layout) -> None:
        self._parts: dict[Part, Samples] = {"training": training, "validation": validation}
        self._input_dtype = torch.float32 if layout.vocab_size is None else torch.int64
        inputs, targets = training
        self.sample_bytes = inputs[0].numel() * self._input_dtype.itemsize + targets[0].numel() * 8

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs of the model's shape, float32 or int64; targets int64."""
        inputs, targets = self._parts[part]
        if part == "training":
            places = torch.randint(len(inputs), (count,), generator=generator)
        else:
            rounds = -(-count // len(inputs))
            places = torch.cat([torch.randperm(len(inputs), generator=generator) for _ in range(rounds)])[:count]
        return inputs[places].to(self._input_dtype), targets[places].long()


def arrays_source(shape: DataShape, config: ArraysData) -> ArraysSource:
    """The arrays of a request, for a model of its shape. Raises TrialFailed (`invalid_data`) naming the array."""
    with open_data_file(config.name, Settings().datasets_dir) as file:
        arrays = read_arrays(file, config.name, (*REQUIRED, *VALIDATION))
    layout = layout_of(shape)
    try:
        training = _samples(arrays, REQUIRED, layout)
        if any(name in arrays for name in VALIDATION):
            return ArraysSource(training, _samples(arrays, VALIDATION, layout), layout)
        return ArraysSource(*_held_out(training), layout)
    except Misfit as error:
        raise TrialFailed.because(FailureCode.INVALID_DATA, f"The data file {config.name!r}: {error}.") from error


def _samples(arrays: "dict[str, NDArray[numpy.generic]]", names: tuple[str, str], layout: Layout) -> Samples:
    inputs, targets = (_tensor(arrays, name) for name in names)
    for name, values, check in zip(names, (inputs, targets), (check_inputs, check_targets), strict=True):
        try:
            check(values, layout)
        except Misfit as error:
            raise Misfit(f"`{name}` {error}") from error
    if len(inputs) != len(targets) or len(inputs) == 0:
        raise Misfit(f"`{names[0]}` has {len(inputs)} samples and `{names[1]}` {len(targets)}: as many as each other")
    return inputs, targets


def _tensor(arrays: "dict[str, NDArray[numpy.generic]]", name: str) -> Tensor:
    """In the machine's byte order; floats in FP32, integers in the narrowest that torch computes with."""
    if name not in arrays:
        raise Misfit(f"there is no array `{name}`; there are {', '.join(sorted(arrays)) or 'none that are known'}")
    array = arrays[name]
    if array.dtype.kind == "f":
        with numpy.errstate(over="ignore"):  # what FP32 cannot hold becomes infinite, and is refused as that
            return torch.from_numpy(array.astype(numpy.float32, copy=False))
    if array.dtype.kind not in "iu":
        raise Misfit(f"`{name}` must be floats or integers, not {array.dtype}")
    narrow = numpy.int32 if array.dtype.itemsize < 4 or array.dtype == numpy.int32 else numpy.int64
    if array.dtype.kind == "u" and array.size and int(array.max()) > numpy.iinfo(narrow).max:
        raise Misfit(f"`{name}` holds {int(array.max())}, which no label or token id can be")
    return torch.from_numpy(array.astype(narrow, copy=False))


def _held_out(samples: Samples) -> tuple[Samples, Samples]:
    inputs, targets = samples
    if len(inputs) < 2:
        raise Misfit("`inputs` has one sample: at least one to train on and one to hold out are needed")
    training = len(inputs) - max(1, int(len(inputs) * HELD_OUT_SHARE))
    return (inputs[:training], targets[:training]), (inputs[training:], targets[training:])
