"""Colours that can be told apart under noise without error."""

import torch
from torch import Tensor

#: Half-width of the noise of a channel as a share of the distance between two levels: below one half.
NOISE = 0.4


class Palette:
    """Distinct colours on a regular grid from -1 to 1, and uniform noise that never makes two of them alike.

    So the colour of every pixel is known for certain from the pixel itself.
    """

    def __init__(self, colours: int, channels: int, generator: torch.Generator) -> None:
        levels = 2
        while levels**channels < colours:
            levels += 1
        self._spacing = 2 / (levels - 1)
        chosen = torch.randperm(levels**channels, generator=generator)[:colours]
        digits = torch.stack([chosen // levels**channel % levels for channel in range(channels)], dim=1)
        #: (colours, channels)
        self.colours = digits * self._spacing - 1

    def paint(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(count, height, width) indices of colours → noisy images (count, channels, height, width), float32."""
        images = self.colours[pixels].movedim(-1, 1).contiguous()
        noise = torch.rand(images.shape, generator=generator) * 2 - 1
        return images + NOISE * self._spacing * noise
