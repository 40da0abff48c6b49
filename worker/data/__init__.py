"""What legs train on: batches from a seeded task whose best possible loss and accuracy are known."""

import hashlib
import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from app.contract.models import ConvnetSpec, MlpSpec, ModelSpec
from app.contract.request import TrainingConfig
from app.contract.trial import DataFacts
from worker.data.images import ImageTask
from worker.data.language import LanguageTask
from worker.data.vectors import VectorTask

#: Inputs and targets, first dimension the samples.
Batch = tuple[Tensor, Tensor]

#: Most bytes of training data held on the device; a longer run goes over them again.
POOL_BYTES = 256 * 2**20

#: Bytes of samples drawn at once.
DRAWN_BYTES = 16 * 2**20

#: Predictions the held-out data allows, unless the request says how many samples.
VALIDATION_PREDICTIONS = 4096


class Task(Protocol):
    """A seeded source of samples."""

    #: nats; the expected loss of the best possible model
    best_possible_loss: float
    best_possible_accuracy: float
    sample_bytes: int

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """`count` samples on the CPU."""


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

    def to(self, device: torch.device) -> "TrialData":
        """The same batches on a device."""

        def moved(batches: list[Batch]) -> list[Batch]:
            return [(inputs.to(device), targets.to(device)) for inputs, targets in batches]

        return TrialData(moved(self.training), moved(self.validation), self.facts)

    def waiting_bytes(self) -> int:
        """Bytes of the batches that wait for their turn while one is trained on."""
        sizes = [sum(t.nbytes for t in batch) for batch in self.training]
        held_out = sum(t.nbytes for batch in self.validation for t in batch)
        return sum(sizes) - max(sizes) + held_out


def make_task(model: ModelSpec, seed: int) -> Task:
    """The synthetic task that fits a model's inputs and outputs."""
    generator = seeded("task", seed)
    if isinstance(model, MlpSpec):
        return VectorTask(model.input_size, model.num_classes, generator)
    if isinstance(model, ConvnetSpec):
        return ImageTask(model.in_channels, model.image_size, model.num_classes, model.channels_last, generator)
    return LanguageTask(model.vocab_size, model.sequence_length, generator)


def make_data(model: ModelSpec, training: TrainingConfig, block_seed: int) -> TrialData:
    """Samples of the task of `training.seed`, drawn with the block's seed; on the CPU."""
    task = make_task(model, training.seed)
    batch_bytes = task.sample_bytes * training.batch_size
    distinct = max(1, min(training.steps, POOL_BYTES // batch_bytes))
    needed = math.ceil(VALIDATION_PREDICTIONS / model.predictions_per_sample())
    held_out = training.validation_samples or max(needed, training.batch_size)
    batches = _draw(task, distinct * training.batch_size, training.batch_size, seeded("training", block_seed))
    # In the parts that training puts through the model at once: what fits in training fits here.
    part = training.batch_size // training.gradient_accumulation
    validation = _draw(task, held_out, part, seeded("validation", block_seed))
    facts = DataFacts(
        kind="synthetic",
        best_possible_loss=task.best_possible_loss,
        best_possible_accuracy=task.best_possible_accuracy,
        distinct_batches=distinct,
        validation_samples=held_out,
    )
    return TrialData(batches, validation, facts)


def _draw(task: Task, samples: int, batch_size: int, generator: torch.Generator) -> list[Batch]:
    """Samples in batches, the last perhaps smaller. Drawn many batches at a time: one is slow, all at once large."""
    at_once = batch_size * max(1, DRAWN_BYTES // (batch_size * task.sample_bytes))
    batches: list[Batch] = []
    for first in range(0, samples, at_once):
        inputs, targets = task.sample(min(at_once, samples - first), generator)
        parts = zip(torch.split(inputs, batch_size), torch.split(targets, batch_size), strict=True)
        # Copies: a view would keep, and be accounted for as, all that was drawn at once.
        batches += [(part_inputs.clone(), part_targets.clone()) for part_inputs, part_targets in parts]
    return batches


def seeded(stream: str, seed: int) -> torch.Generator:
    """A generator of its own for every purpose, so that no stream shifts another."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
