"""What legs train on: batches from a seeded task with a known optimum, from files, or from an installed package."""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from app.contract.data import ArraysData, DataConfig, PluginData, SyntheticData, TextData
from app.contract.request import TrainingConfig
from app.contract.trial import DataFacts
from worker.data.arrays import arrays_source
from worker.data.plugin import plugin_source
from worker.data.shapes import DataShape, predictions_per_sample
from worker.data.source import Part, Source
from worker.data.synthetic import make_task
from worker.data.text import text_source

#: Inputs and targets, first dimension the samples.
Batch = tuple[Tensor, Tensor]

#: Most bytes of training data held on the device; a longer run goes over them again.
POOL_BYTES = 256 * 2**20

#: Bytes of samples drawn at once.
DRAWN_BYTES = 16 * 2**20

#: Predictions the held-out data allows, unless the request says how many samples.
VALIDATION_PREDICTIONS = 4096


@dataclass(frozen=True)
class TrialData:
    """The batches of one trial. Step s trains on `training[s % len(training)]`."""

    training: list[Batch]
    validation: list[Batch]
    facts: DataFacts

    def sha256(self) -> str:
        """Of every batch in order: equal across the legs of a block."""
        digest = hashlib.sha256()
        for tensor in (tensor for batch in self.training + self.validation for tensor in batch):
            digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device, memory_format: torch.memory_format = torch.preserve_format) -> "TrialData":
        """The same batches on a device; images in a memory format."""

        def moved(batches: list[Batch]) -> list[Batch]:
            return [(_in_format(inputs.to(device), memory_format), targets.to(device)) for inputs, targets in batches]

        return TrialData(moved(self.training), moved(self.validation), self.facts)

    def waiting_bytes(self) -> int:
        """Bytes of the batches that wait for their turn while one is trained on."""
        sizes = [sum(t.nbytes for t in batch) for batch in self.training]
        held_out = sum(t.nbytes for batch in self.validation for t in batch)
        return sum(sizes) - max(sizes) + held_out


def _in_format(inputs: Tensor, memory_format: torch.memory_format) -> Tensor:
    is_images = inputs.dim() == 4 and inputs.is_floating_point()  # samples, channels, height, width
    return (
        inputs.contiguous(memory_format=memory_format) if is_images and memory_format is torch.channels_last else inputs
    )


def make_source(shape: DataShape, config: DataConfig, seed: int) -> Source:
    """Where samples of a shape come from. Raises TrialFailed (`invalid_data`) where there are none that fit."""
    match config:
        case TextData():
            return text_source(shape, config)
        case ArraysData():
            return arrays_source(shape, config)
        case PluginData():
            return plugin_source(shape, config, seed)
        case SyntheticData():
            return make_task(shape, seeded("task", seed))


def make_data(shape: DataShape, config: DataConfig, training: TrainingConfig, block_seed: int) -> TrialData:
    """Samples from the source of `training.seed`, drawn with the block's seed; on the CPU."""
    source = make_source(shape, config, training.seed)
    batch_bytes = source.sample_bytes * training.batch_size
    distinct = max(1, min(training.steps, POOL_BYTES // batch_bytes))
    needed = math.ceil(VALIDATION_PREDICTIONS / predictions_per_sample(shape))
    held_out = training.validation_samples or max(needed, training.batch_size)
    batches = _draw(source, "training", distinct * training.batch_size, training.batch_size, block_seed)
    # In the parts that training puts through the model at once: what fits in training fits here.
    part = training.batch_size // training.gradient_accumulation
    validation = _draw(source, "validation", held_out, part, block_seed)
    facts = DataFacts(
        kind=config.kind,
        best_possible_loss=source.best_possible_loss,
        best_possible_accuracy=source.best_possible_accuracy,
        distinct_batches=distinct,
        validation_samples=held_out,
    )
    return TrialData(batches, validation, facts)


def _draw(source: Source, part: Part, samples: int, batch_size: int, block_seed: int) -> list[Batch]:
    """Samples in batches, the last perhaps smaller. Drawn many batches at a time: one is slow, all at once large."""
    generator = seeded(part, block_seed)
    at_once = batch_size * max(1, DRAWN_BYTES // (batch_size * source.sample_bytes))
    batches: list[Batch] = []
    for first in range(0, samples, at_once):
        inputs, targets = source.sample(part, min(at_once, samples - first), generator)
        parts = zip(torch.split(inputs, batch_size), torch.split(targets, batch_size), strict=True)
        # Copies: a view would keep, and be accounted for as, all that was drawn at once.
        batches += [(part_inputs.clone(), part_targets.clone()) for part_inputs, part_targets in parts]
    return batches


def seeded(stream: str, seed: int) -> torch.Generator:
    """A generator of its own for every purpose, so that no stream shifts another."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
