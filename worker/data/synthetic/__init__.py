"""Selects the synthetic task of a shape: seeded, learnable, with a known optimum."""

import torch

from halftime.plugin import CausalTokens, ClassifiedTokens, DataShape, Images, MaskedTokens, Source, Vectors
from worker.data.synthetic.classified import ClassifiedTask
from worker.data.synthetic.images import ImageTask
from worker.data.synthetic.language import ContinuationTask, LanguageTask
from worker.data.synthetic.masked import MaskedTask
from worker.data.synthetic.vectors import VectorTask


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
