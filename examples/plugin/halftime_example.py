"""Example plugin for Halftime: a model and a data set."""

import torch
from torch import Tensor, nn

from halftime.plugin import Blueprint, DataShape, Part, Vectors


def gated_mlp(width: int = 256, inputs: int = 16, classes: int = 4) -> Blueprint:
    """Vectors → one class, through a gated linear unit."""

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 2 * width), nn.GLU(), nn.Linear(width, classes))

    return Blueprint(Vectors(inputs, classes), build)


class Rings:
    """Points on concentric rings around the origin; the class is the ring."""

    best_possible_loss = None
    best_possible_accuracy = 1.0

    def __init__(self, shape: DataShape, seed: int, spacing: float = 1.0) -> None:
        if not isinstance(shape, Vectors):
            raise TypeError("the data set `rings` requires a model with vector inputs")
        self.shape, self.spacing = shape, spacing
        self.sample_bytes = 4 * shape.size + 8

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws vectors and their classes. Points are drawn anew each time, so the parts do not overlap."""
        rings = torch.randint(self.shape.num_classes, (count,), generator=generator)
        directions = torch.randn(count, self.shape.size, generator=generator)
        points = directions / directions.norm(dim=1, keepdim=True) * (1 + rings[:, None]) * self.spacing
        return points, rings
