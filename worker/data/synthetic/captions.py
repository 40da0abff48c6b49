"""Synthetic images with captions: a mosaic of coloured cells, and one token for the colour of each cell."""

import torch
from torch import Tensor

from halftime.contract.models.transformers import LEAST_CAPTION_LENGTH
from halftime.plugin import Images, Part
from worker.data.synthetic.colours import Palette

#: Cells along each side of an image.
CELLS = 2
#: Most colours of a cell: enough for 4096 different images.
COLOURS = 8
#: Smallest vocabulary: two colours for each cell, and the token that ends a text.
LEAST_VOCABULARY = 2 * CELLS**2 + 1


class CaptionSource:
    """A caption names the colours of the cells in turn, again and again up to its length, and ends with the last token.

    Image and caption tell the same, so an image can always be matched with its own caption or an equal one: the best
    possible accuracies are 1. The best possible loss depends on the number of equal captions in a batch.
    """

    best_possible_loss: float | None = None
    best_possible_accuracy: float | None = None

    def __init__(
        self, images: Images, vocab_size: int, length: int, last_token: int, generator: torch.Generator
    ) -> None:
        assert length >= LEAST_CAPTION_LENGTH, "the colours of all cells and the last token"
        self._images, self._length, self._last_token = images, length, last_token
        self.sample_bytes = 4 * images.channels * images.height * images.width + 8 * length
        self.colours = min(COLOURS, (vocab_size - 1) // CELLS**2)
        self.palette = Palette(self.colours, images.channels, generator)
        tokens = torch.randperm(vocab_size, generator=generator)
        tokens = tokens[tokens != last_token]
        #: (cells, colours): the token for the colour of a cell
        self.tokens = tokens[: CELLS**2 * self.colours].view(CELLS**2, self.colours)

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws `pixel_values` (count, channels, height, width), float32, and `input_ids` (count, length), int64."""
        cells = torch.randint(self.colours, (count, CELLS**2), generator=generator)
        return {"pixel_values": self.palette.paint(self._mosaic(cells), generator), "input_ids": self._caption(cells)}

    def _mosaic(self, cells: Tensor) -> Tensor:
        row = torch.arange(self._images.height) * CELLS // self._images.height
        column = torch.arange(self._images.width) * CELLS // self._images.width
        return cells[:, row[:, None] * CELLS + column]

    def _caption(self, cells: Tensor) -> Tensor:
        named = torch.arange(self._length - 1) % CELLS**2
        texts = self.tokens[named, cells[:, named]]
        return torch.cat([texts, torch.full((len(cells), 1), self._last_token)], dim=1)
