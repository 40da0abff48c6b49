"""Synthetic images: shifted, noisy class templates with label noise."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from halftime.plugin import Images, Part
from worker.data.synthetic.label_noise import LabelNoise

#: Side of the coarse pattern that is interpolated to a template.
PATTERN = 4

#: Standard deviation of the pixel noise; a template's is 1.
NOISE = 1.0

#: A template is rolled by up to this share of the image in each direction.
SHIFT = 1 / 8


class ImageSource:
    """A sample is its class's template, rolled and with Gaussian noise; one label in ten is random.

    The best possible model recognises every template; see `LabelNoise`.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None

    def __init__(self, shape: Images, generator: torch.Generator) -> None:
        num_classes, channels, size = shape.num_classes, shape.channels, (shape.height, shape.width)
        self.num_classes, self.size = num_classes, size
        self.sample_bytes = 4 * channels * math.prod(size) + 8
        coarse = torch.randn(num_classes, channels, PATTERN, PATTERN, generator=generator)
        templates = functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        self.templates = templates / templates.std(dim=(1, 2, 3), keepdim=True)
        self.noise = LabelNoise(num_classes)
        self.best_possible_loss = self.noise.best_possible_loss
        self.best_possible_accuracy = self.noise.best_possible_accuracy

    def sample(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs (count, channels, height, width), float32; targets (count,), int64."""
        classes = torch.randint(self.num_classes, (count,), generator=generator)
        images = self.templates[classes]
        for axis, size in zip((2, 3), self.size, strict=True):
            reach = int(size * SHIFT)
            shifts = torch.randint(-reach, reach + 1, (count,), generator=generator)
            places = (torch.arange(size) - shifts[:, None]) % size
            shape = [count, 1, 1, 1]
            shape[axis] = size
            images = images.gather(axis, places.view(shape).expand_as(images))
        images = images + NOISE * torch.randn(images.shape, generator=generator)
        return images, self.noise.apply(classes, generator)
