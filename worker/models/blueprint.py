"""A model that can be built, and what it is trained on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from worker.data.shapes import DataShape


@dataclass(frozen=True)
class Blueprint:
    """What `worker.models.blueprint_of` makes of a spec. Nothing is allocated before `build`."""

    shape: DataShape
    #: On torch's default device, with weights from its global generator. The module maps one input tensor to logits
    #: whose last dimension is the classes or tokens.
    build: Callable[[], nn.Module]


def count_parameters(blueprint: Blueprint) -> int:
    """Of the model, built without weights."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in blueprint.build().parameters())
