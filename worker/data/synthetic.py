"""Selects the synthetic task of a shape: seeded, learnable, with a known optimum."""

import torch

from halftime.plugin import CausalTokens, ClassifiedTokens, DataShape, Images, MaskedTokens, Source, Vectors
from worker.data.classified import ClassifiedTask
from worker.data.images import ImageTask
from worker.data.language import ContinuationTask, LanguageTask
from worker.data.masked import MaskedTask
from worker.data.vectors import VectorTask


def make_task(shape: DataShape, generator: torch.Generator) -> Source:
    """Creates the task for a model's inputs and outputs."""
    if isinstance(shape, Vectors):
        return VectorTask(shape.size, shape.num_classes, generator)
    if isinstance(shape, Images):
        return ImageTask(shape, generator)
    if isinstance(shape, CausalTokens):
        return LanguageTask(shape.vocab_size, shape.length, generator)
    if isinstance(shape, MaskedTokens):
        return MaskedTask(shape, generator)
    if isinstance(shape, ClassifiedTokens):
        return ClassifiedTask(shape, generator)
    return ContinuationTask(shape, generator)
