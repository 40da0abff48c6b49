"""Synthetic scenes for segmentation and detection: coloured rectangles and ellipses on a background."""

import torch
from torch import Tensor

from halftime.plugin import Images, Part
from worker.data.synthetic.colours import Palette

#: Objects in every image, each in a cell of its own.
OBJECTS = 3
#: Cells along each side of an image.
CELLS = 2
#: Smallest and largest side of an object, as a share of its cell's.
SIDES = (0.4, 0.9)

BACKGROUND = 0


class Scenes:
    """Draws scenes: classes are from 1, and those with even numbers are ellipses; every class has its colour."""

    def __init__(self, shape: Images, num_colours: int, generator: torch.Generator) -> None:
        self.shape = shape
        self.num_colours = num_colours
        self.palette = Palette(num_colours, shape.channels, generator)
        self.image_bytes = 4 * shape.channels * shape.height * shape.width

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images (count, channels, height, width), the class of every pixel (count, height, width), the classes of the
        objects (count, objects) and their boxes (count, objects, 4): centre, width and height as shares of the image.
        """
        classes = torch.randint(1, self.num_colours, (count, OBJECTS), generator=generator)
        boxes = draw_boxes(count, generator)
        pixels = self._fill(classes, boxes)
        return self.palette.paint(pixels, generator), pixels, classes, boxes

    def _fill(self, classes: Tensor, boxes: Tensor) -> Tensor:
        height, width = self.shape.height, self.shape.width
        y = ((torch.arange(height) + 0.5) / height)[:, None]
        x = (torch.arange(width) + 0.5) / width
        pixels = torch.full((len(classes), height, width), BACKGROUND)
        for object_classes, object_boxes in zip(classes.unbind(1), boxes.unbind(1), strict=True):
            labels = object_classes[:, None, None]
            centre_x, centre_y, box_width, box_height = object_boxes[:, :, None, None].unbind(1)
            across, along = 2 * (x - centre_x) / box_width, 2 * (y - centre_y) / box_height
            in_box = (across.abs() <= 1) & (along.abs() <= 1)
            in_ellipse = across.square() + along.square() <= 1
            pixels = torch.where(torch.where(labels % 2 == 0, in_ellipse, in_box), labels, pixels)
        return pixels


def draw_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Draws boxes that do not overlap, (count, objects, 4): centre, width and height as shares of the image."""
    cells = torch.rand(count, CELLS**2, generator=generator).argsort(dim=1)[:, :OBJECTS]
    corners = torch.stack([cells % CELLS, cells // CELLS], dim=-1)
    low, high = SIDES
    sides = low + (high - low) * torch.rand(count, OBJECTS, 2, generator=generator)
    places = sides / 2 + (1 - sides) * torch.rand(count, OBJECTS, 2, generator=generator)
    return torch.cat([corners + places, sides], dim=-1) / CELLS


class SegmentationSource:
    """A pixel's class follows from its colour, so the best possible loss is 0 and the best possible accuracies are 1.

    Class 0 is the background.
    """

    best_possible_loss: float | None = 0.0
    best_possible_accuracy: float | None = None

    def __init__(self, shape: Images, generator: torch.Generator) -> None:
        self.scenes = Scenes(shape, shape.num_classes, generator)
        self.sample_bytes = self.scenes.image_bytes + 8 * shape.height * shape.width
        self.best_possible = {"pixel_accuracy": 1.0, "mean_iou_per_image": 1.0}

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws `pixel_values` (count, channels, height, width) and `labels` (count, height, width), int64."""
        images, pixels, _, _ = self.scenes.draw(count, generator)
        return {"pixel_values": images, "labels": pixels}


class DetectionSource:
    """The objects follow from the image, so every box can be found: the best possible figures are 1.

    The edges are known up to a pixel, which bounds the mean overlap below 1. The background is not a class.
    """

    best_possible_loss: float | None = None
    best_possible_accuracy: float | None = None

    def __init__(self, shape: Images, generator: torch.Generator) -> None:
        self.scenes = Scenes(shape, shape.num_classes + 1, generator)
        self.sample_bytes = self.scenes.image_bytes + OBJECTS * (8 + 4 * 4)
        self.best_possible = {"box_recall": 1.0}

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws `pixel_values` (count, channels, height, width), float32; `classes` (count, objects), int64; and
        `boxes` (count, objects, 4), float32: centre, width and height as shares of the image."""
        images, _, classes, boxes = self.scenes.draw(count, generator)
        return {"pixel_values": images, "classes": classes - 1, "boxes": boxes}
