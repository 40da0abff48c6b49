"""Training and validation batches: from a seeded task with a known optimum, from files, or from a plugin."""

import math
from dataclasses import dataclass, replace

import torch

from halftime.contract.report.failure import FailureCode
from halftime.contract.report.metrics import MetricFacts
from halftime.contract.report.trial import DataFacts
from halftime.contract.request.data import ArraysData, DataConfig, LoaderConfig, PluginData, SyntheticData, TextData
from halftime.contract.request.training import TrainingConfig
from halftime.plugin import Batch, DataShape, Metric, Part, Source, TrainingTask
from worker.data.batches import bytes_of, map_tensors, sha256, split
from worker.data.feed import Batches, DrawnBatches, Feed, LoaderFeed, Place, ResidentFeed
from worker.data.loader_limits import require_shared_memory
from worker.data.plugin import plugin_source
from worker.data.source import best_possible, known_chance, seeded
from worker.data.text import text_source
from worker.errors import TrialFailed

__all__ = [
    "Batch", "Batches", "Feed", "ResidentFeed", "TrialData", "make_data", "make_source", "metric_facts", "seeded",
]  # fmt: skip

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
        sizes = list(map(bytes_of, self._resident()))
        held_out = sum(map(bytes_of, self.validation))
        return sum(sizes) - max(sizes, default=0) + held_out

    def _resident(self) -> list[Batch]:
        """Training batches that are drawn before training."""
        return [] if isinstance(self.training, DrawnBatches) else self.training


def make_source(task: TrainingTask, config: DataConfig, seed: int) -> Source:
    """Creates the source of a task's samples. Raises TrialFailed (`invalid_data`) when the data does not fit it."""
    match config:
        case TextData():
            return text_source(_shape_of(task, config), config)
        case ArraysData():
            from worker.data.arrays import arrays_source  # noqa: PLC0415 # loads libraries that read files

            return arrays_source(_shape_of(task, config), config)
        case PluginData():
            return plugin_source(task, config, seed)
        case SyntheticData():
            return _synthetic(task, seed)


def _shape_of(task: TrainingTask, config: DataConfig) -> DataShape:
    if task.shape is None:
        raise TrialFailed.because(
            FailureCode.INVALID_DATA,
            f"Data of the kind {config.kind} has one tensor of inputs and one of classes, which is not what this "
            "model's task is trained on. Use the kind synthetic, or a data plugin.",
        )
    return task.shape


def _synthetic(task: TrainingTask, seed: int) -> Source:
    try:
        return task.source(seed)
    except NotImplementedError as error:
        raise TrialFailed.because(
            FailureCode.INVALID_DATA, "This model's task has no synthetic data. Name a data plugin in `config.data`."
        ) from error


def make_data(
    task: TrainingTask, config: DataConfig, training: TrainingConfig, block_seed: int, max_batches: int | None = None
) -> TrialData:
    """Draws samples from the source of `training.seed` with the block's seed, on the CPU.

    Raises TrialFailed (`invalid_data`) when the data does not fit the model, or a loader's batches do not fit into
    shared memory.
    """
    source = make_source(task, config, training.seed)
    needed = math.ceil(VALIDATION_PREDICTIONS / task.predictions_per_sample)
    held_out = training.validation_samples or max(needed, training.batch_size)
    # In batches of the size of training's micro-batches: what fits into memory in training fits here.
    part = training.batch_size // training.gradient_accumulation
    validation = _draw(source, "validation", held_out, part, block_seed)
    if config.loader is not None:
        require_shared_memory(config.loader, validation[0], training.batch_size, training.steps)
    batches = _training_batches(source, config.loader, training, block_seed, max_batches or training.steps)
    facts = DataFacts(
        kind=config.kind,
        best_possible_loss=source.best_possible_loss,
        best_possible_accuracy=source.best_possible_accuracy,
        distinct_batches=len(batches),
        validation_samples=held_out,
        metrics=_metric_facts(task, source, validation),
    )
    return TrialData(batches, validation, facts, config.loader)


def _metric_facts(task: TrainingTask, source: Source, held_out: list[Batch]) -> list[MetricFacts]:
    best, unlearned = best_possible(source), known_chance(source) | dict(task.chance(held_out))
    return [metric_facts(metric, best.get(metric.name), unlearned.get(metric.name)) for metric in task.reported]


def metric_facts(metric: Metric, best_possible: float | None = None, chance: float | None = None) -> MetricFacts:
    """The facts of a metric, with what is known of it on some data.

    Raises ValidationError for a metric with a value of a wrong type.
    """
    return MetricFacts(
        name=metric.name,
        title=metric.title or metric.name.replace("_", " "),
        unit=metric.unit,
        better=metric.better,
        best_possible=best_possible if metric.best is None else metric.best,
        chance=metric.chance if chance is None else chance,
        is_share=metric.is_share,
    )


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
        drawn = source.sample(part, min(at_once, samples - first), generator)
        # Copies: a view would keep everything drawn at once allocated.
        batches += [map_tensors(torch.clone, batch) for batch in split(drawn, batch_size)]
    return batches
