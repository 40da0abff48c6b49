"""Training and validation batches: from a seeded task with a known optimum, from files, or from a plugin."""

import math
from dataclasses import dataclass, replace

import torch

from halftime.contract.report.trial import DataFacts
from halftime.contract.request.data import ArraysData, DataConfig, LoaderConfig, PluginData, SyntheticData, TextData
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import DataShape, Part, Source
from worker.data.chance import chance_of
from worker.data.feed import Batches, DrawnBatches, Feed, LoaderFeed, Place, ResidentFeed
from worker.data.layout import layout_of, predictions_per_sample
from worker.data.loader_limits import require_shared_memory
from worker.data.plugin import plugin_source
from worker.data.source import Batch, seeded, sha256
from worker.data.synthetic import make_task
from worker.data.text import text_source

__all__ = ["Batch", "Batches", "Feed", "ResidentFeed", "TrialData", "make_data", "make_source", "seeded"]

#: Most bytes of training data held on the device; a longer run repeats them.
POOL_BYTES = 256 * 2**20

#: Bytes of samples drawn at once.
DRAWN_BYTES = 16 * 2**20

#: Predictions on the held-out data, unless the request sets the number of samples.
VALIDATION_PREDICTIONS = 4096


@dataclass(frozen=True)
class TrialData:
    """The batches of one trial. Step s trains on `training[s % len(training)]`."""

    training: list[Batch] | DrawnBatches
    validation: list[Batch]
    facts: DataFacts
    #: If set, `training` is drawn during training.
    loader: LoaderConfig | None = None

    def sha256(self) -> str:
        """Hash of all batches drawn so far, in order: equal across the legs of a block."""
        return sha256(self._resident() + self.validation).hex()

    def to(self, device: torch.device, memory_format: torch.memory_format = torch.preserve_format) -> "TrialData":
        """Returns the batches on a device; images in a memory format."""
        place = Place(device, memory_format)
        validation = [place.put(batch) for batch in self.validation]
        if isinstance(self.training, DrawnBatches):
            return replace(self, training=replace(self.training, place=place), validation=validation)
        return replace(self, training=[place.put(batch) for batch in self.training], validation=validation)

    def feed(self) -> Feed:
        """Creates the feed of training batches for the loop; close it afterwards."""
        if isinstance(self.training, DrawnBatches):
            assert self.loader is not None
            return LoaderFeed(self.training, self.loader)
        return ResidentFeed(self.training)

    def waiting_bytes(self) -> int:
        """Bytes of the batches on the device that are not in use while the largest is trained on."""
        sizes = [sum(t.nbytes for t in batch) for batch in self._resident()]
        held_out = sum(t.nbytes for batch in self.validation for t in batch)
        return sum(sizes) - max(sizes, default=0) + held_out

    def _resident(self) -> list[Batch]:
        """Training batches that are drawn before training."""
        return [] if isinstance(self.training, DrawnBatches) else self.training


def make_source(shape: DataShape, config: DataConfig, seed: int) -> Source:
    """Creates the source of samples of a shape. Raises TrialFailed (`invalid_data`) when the data does not fit it."""
    match config:
        case TextData():
            return text_source(shape, config)
        case ArraysData():
            from worker.data.arrays import arrays_source  # noqa: PLC0415 # loads libraries that read files

            return arrays_source(shape, config)
        case PluginData():
            return plugin_source(shape, config, seed)
        case SyntheticData():
            return make_task(shape, seeded("task", seed))


def make_data(
    shape: DataShape, config: DataConfig, training: TrainingConfig, block_seed: int, max_batches: int | None = None
) -> TrialData:
    """Draws samples from the source of `training.seed` with the block's seed, on the CPU.

    Raises TrialFailed (`invalid_data`) when the data does not fit the model, or a loader's batches do not fit into
    shared memory.
    """
    source = make_source(shape, config, training.seed)
    needed = math.ceil(VALIDATION_PREDICTIONS / predictions_per_sample(shape))
    held_out = training.validation_samples or max(needed, training.batch_size)
    # In batches of the size of training's micro-batches: what fits into memory in training fits here.
    part = training.batch_size // training.gradient_accumulation
    validation = _draw(source, "validation", held_out, part, block_seed)
    if config.loader is not None:
        require_shared_memory(config.loader, validation[0], training.batch_size, training.steps)
    chance = chance_of((targets for _, targets in validation), layout_of(shape).num_classes)
    batches = _training_batches(source, config.loader, training, block_seed, max_batches or training.steps)
    facts = DataFacts(
        kind=config.kind,
        best_possible_loss=source.best_possible_loss,
        best_possible_accuracy=source.best_possible_accuracy,
        chance_loss=chance.loss,
        chance_accuracy=chance.accuracy,
        distinct_batches=len(batches),
        validation_samples=held_out,
        validation_predictions=chance.predictions,
    )
    return TrialData(batches, validation, facts, config.loader)


def _training_batches(
    source: Source, loader: LoaderConfig | None, training: TrainingConfig, block_seed: int, max_batches: int
) -> list[Batch] | DrawnBatches:
    """Draws as many batches as are needed and fit on the device; with a loader, they are drawn during training."""
    if loader is not None:
        return DrawnBatches(source, training.batch_size, training.steps, block_seed)
    distinct = max(1, min(max_batches, training.steps, POOL_BYTES // (source.sample_bytes * training.batch_size)))
    return _draw(source, "training", distinct * training.batch_size, training.batch_size, block_seed)


def _draw(source: Source, part: Part, samples: int, batch_size: int, block_seed: int) -> list[Batch]:
    """Draws samples in batches, the last possibly smaller; many batches at a time, to limit both time and memory."""
    generator = seeded(part, block_seed)
    at_once = batch_size * max(1, DRAWN_BYTES // (batch_size * source.sample_bytes))
    batches: list[Batch] = []
    for first in range(0, samples, at_once):
        inputs, targets = source.sample(part, min(at_once, samples - first), generator)
        parts = zip(torch.split(inputs, batch_size), torch.split(targets, batch_size), strict=True)
        # Copies: a view would keep everything drawn at once allocated.
        batches += [(part_inputs.clone(), part_targets.clone()) for part_inputs, part_targets in parts]
    return batches
