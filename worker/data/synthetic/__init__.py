"""Selects the synthetic data of a shape: seeded, learnable, with a known optimum."""

import torch

from halftime.plugin import CausalTokens, ClassifiedTokens, DataShape, Images, MaskedTokens, Source, Vectors
from worker.data.synthetic.classified import ClassifiedSource
from worker.data.synthetic.images import ImageSource
from worker.data.synthetic.language import ContinuationSource, LanguageSource
from worker.data.synthetic.masked import MaskedSource
from worker.data.synthetic.vectors import VectorSource


def synthetic_source(shape: DataShape, generator: torch.Generator) -> Source:
    """Creates the source for a model's inputs and outputs."""
    if isinstance(shape, Vectors):
        return VectorSource(shape.size, shape.num_classes, generator)
    if isinstance(shape, Images):
        return ImageSource(shape, generator)
    if isinstance(shape, CausalTokens):
        return LanguageSource(shape.vocab_size, shape.length, generator)
    if isinstance(shape, MaskedTokens):
        return MaskedSource(shape, generator)
    if isinstance(shape, ClassifiedTokens):
        return ClassifiedSource(shape, generator)
    return ContinuationSource(shape, generator)
