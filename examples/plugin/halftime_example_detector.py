"""Example of a training task whose loss waits for the device: a detector that assigns its boxes on the host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from halftime.plugin import LOSS, Blueprint, Metric, Part, TrainingTask

#: Weight of the distance of boxes beside the cross-entropy of classes, as in DETR (Carion et al. 2020, section A.4).
BOX_WEIGHT = 5.0


class Detector(nn.Module):
    """Images (samples, 3, size, size) → class logits (samples, queries, classes) and boxes (samples, queries, 4).

    Boxes are centre, width and height as shares of the image.
    """

    def __init__(self, queries: int, classes: int, width: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.classes = nn.Linear(16 * width, queries * classes)
        self.boxes = nn.Linear(16 * width, queries * 4)
        self.queries = queries

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class logits and boxes."""
        features = self.backbone(images)
        logits, boxes = self.classes(features), self.boxes(features).sigmoid()
        return logits.unflatten(1, (self.queries, -1)), boxes.unflatten(1, (self.queries, -1))


@dataclass(frozen=True)
class Detection(TrainingTask):
    """Every object is assigned the prediction that fits it best, one to one (the Hungarian method; Kuhn 1955).

    The costs are read by the host, so every step waits for the device: the assignment decides what the gradient is.
    """

    size: int
    objects: int
    classes: int

    #: Over objects: the mean overlap with their predictions, and the share of right classes. A prediction is assigned
    #: by its class as well, so a model that has learned nothing is right more often than one in `classes` times.
    reported = (
        LOSS,
        Metric("mean_matched_iou", "higher", "mean IoU of matched boxes", best=1.0),
        Metric("class_accuracy", "higher", is_share=True),
    )

    @property
    def predictions_per_sample(self) -> int:  # type: ignore[override] # depends on the objects
        """One per object."""
        return self.objects

    def loss(self, model: Callable[..., Any], batch: dict[str, Tensor]) -> Tensor:
        """Mean over objects of cross-entropy + 5 · mean absolute error of boxes."""
        logits, boxes = _matched(*model(batch["images"]), batch)
        distance = (boxes - batch["boxes"]).abs().mean()
        return functional.cross_entropy(logits.flatten(0, 1), batch["classes"].flatten()) + BOX_WEIGHT * distance

    def metrics(self, model: nn.Module, batch: dict[str, Tensor]) -> Mapping[str, tuple[Tensor | float, float]]:
        """Sums over objects."""
        count = self.predictions(batch)
        logits, boxes = _matched(*model(batch["images"]), batch)
        return {
            "loss": (self.loss(model, batch) * count, count),
            "mean_matched_iou": (_overlap(boxes, batch["boxes"]).sum(), count),
            "class_accuracy": ((logits.argmax(dim=-1) == batch["classes"]).sum(), count),
        }

    def predictions(self, batch: dict[str, Tensor]) -> int:
        """Number of objects."""
        return batch["classes"].numel()

    def source(self, seed: int) -> "Rectangles":
        """Coloured rectangles; the colour is the class."""
        return Rectangles(self, seed)


def _matched(logits: Tensor, boxes: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Returns the predictions in the order of the objects that they are assigned to."""
    wanted = batch["classes"][:, None].expand(-1, logits.shape[1], -1)
    classes = -logits.detach().float().softmax(dim=-1).gather(2, wanted)
    distances = (boxes.detach().float()[:, :, None] - batch["boxes"].float()[:, None]).abs().mean(dim=-1)
    costs = (classes + BOX_WEIGHT * distances).transpose(1, 2).cpu()  # (samples, objects, queries): waits here
    found = torch.stack([torch.as_tensor(linear_sum_assignment(cost.numpy())[1]) for cost in costs])
    places = found.to(logits.device)[..., None]
    return logits.take_along_dim(places, 1), boxes.take_along_dim(places, 1)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) in centre, width and height."""
    (one_low, one_high), (other_low, other_high) = (
        (box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2) for box in (one, other)
    )
    sides = (torch.minimum(one_high, other_high) - torch.maximum(one_low, other_low)).clamp(min=0)
    shared = sides.prod(dim=-1)
    return shared / (one[..., 2:].prod(dim=-1) + other[..., 2:].prod(dim=-1) - shared)


class Rectangles:
    """Images of rectangles in the colours of their classes; a later one hides what it covers."""

    best_possible_loss = None
    best_possible_accuracy = None

    def __init__(self, task: Detection, seed: int) -> None:
        self.task = task
        self.colours = torch.rand(task.classes, 3, generator=torch.Generator().manual_seed(seed))
        self.sample_bytes = 4 * (3 * task.size**2 + 4 * task.objects) + 8 * task.objects

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws images, with the boxes (count, objects, 4) and classes (count, objects) of their objects."""
        shape = (count, self.task.objects)
        sizes = 0.2 + 0.2 * torch.rand(*shape, 2, generator=generator)
        centres = sizes / 2 + (1 - sizes) * torch.rand(*shape, 2, generator=generator)
        classes = torch.randint(self.task.classes, shape, generator=generator)
        boxes = torch.cat([centres, sizes], dim=-1)
        return {"images": self._drawn(boxes, classes), "boxes": boxes, "classes": classes}

    def _drawn(self, boxes: Tensor, classes: Tensor) -> Tensor:
        """Paints the objects in order, pixel by pixel centre, on black."""
        at = (torch.arange(self.task.size) + 0.5) / self.task.size
        inside = (at[:, None] - boxes[:, :, None, :2]).abs() < boxes[:, :, None, 2:] / 2  # (count, objects, size, 2)
        images = torch.zeros(len(boxes), 3, self.task.size, self.task.size)
        for place in range(self.task.objects):
            across, down = inside[:, place, :, 0], inside[:, place, :, 1]
            mask = (down[:, :, None] & across[:, None])[:, None]
            images = torch.where(mask, self.colours[classes[:, place]][:, :, None, None], images)
        return images


def detector(width: int = 16, size: int = 32, objects: int = 2, classes: int = 4, queries: int = 4) -> Blueprint:
    """A small detector."""
    if queries < objects:
        raise ValueError("queries must be at least as many as objects")
    return Blueprint(Detection(size, objects, classes), lambda: Detector(queries, classes, width))
