"""Object detection by set prediction: classes and boxes of a fixed number of queries (Carion et al. 2020, DETR)."""

from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from halftime.plugin import Batch, Images, Metric, Source
from worker.data.source import seeded
from worker.data.synthetic.scenes import OBJECTS, DetectionSource
from worker.tasks.own_loss import OwnLoss, Ratio

#: Least overlap of a box that is found.
LEAST_IOU = 0.5


@dataclass(frozen=True)
class Detection(OwnLoss):
    """Batches have `pixel_values`, and `classes` (samples, objects) and `boxes` (samples, objects, 4) of the objects.

    A box is the centre, width and height as shares of the image. The loss assigns every object to a query by the
    Hungarian method, which runs on the CPU: every step waits for the device.
    """

    images: Images
    predictions_per_sample = 4 * OBJECTS
    reported = (
        Metric("loss", "lower", "validation loss"),
        Metric("box_recall", "higher", "recall of boxes at IoU 0.5", is_share=True),
        Metric("mean_best_iou", "higher", "mean IoU of the best box"),
    )

    @override
    def run(self, model: Callable[..., Any], batch: Batch) -> Any:
        pairs = zip(batch["classes"], batch["boxes"], strict=True)
        # As the library's image processors return them: no tree of torch's, so a model held in BF16 gets exact boxes.
        labels = [UserDict(class_labels=classes, boxes=boxes) for classes, boxes in pairs]
        with default_dtype(batch["boxes"].dtype):
            return model(pixel_values=batch["pixel_values"], labels=labels)

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        objects = batch["classes"].shape[1]
        scores, classes = class_scores(output.logits, self.images.num_classes).max(dim=-1)
        best = scores.topk(min(objects, scores.shape[1]), dim=1).indices
        boxes = output.pred_boxes.gather(1, best[:, :, None].expand(-1, -1, 4))
        overlaps = ious(boxes, batch["boxes"])
        right = classes.gather(1, best)[:, :, None] == batch["classes"][:, None]
        found = (right & (overlaps >= LEAST_IOU)).any(dim=1)
        return {
            "box_recall": (found.sum(), found.numel()),
            "mean_best_iou": (overlaps.amax(dim=1).sum(), found.numel()),
        }

    @override
    def source(self, seed: int) -> Source:
        return DetectionSource(self.images, seeded("task", seed))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets torch's default dtype, which the library gives to the weights of the classes in its loss."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def class_scores(logits: Tensor, num_classes: int) -> Tensor:
    """(samples, queries, classes): a softmax with a further class for no object, or a sigmoid of every class."""
    if logits.shape[-1] == num_classes + 1:
        return logits.softmax(dim=-1)[..., :num_classes]
    return logits.sigmoid()


def ious(boxes: Tensor, others: Tensor) -> Tensor:
    """(samples, n, 4) and (samples, m, 4): centre, width, height → (samples, n, m): intersection over union."""
    first, second = boxes[:, :, None], others[:, None]
    low = torch.maximum(first[..., :2] - first[..., 2:] / 2, second[..., :2] - second[..., 2:] / 2)
    high = torch.minimum(first[..., :2] + first[..., 2:] / 2, second[..., :2] + second[..., 2:] / 2)
    intersection = (high - low).clamp(min=0).prod(dim=-1)
    return intersection / (first[..., 2:].prod(dim=-1) + second[..., 2:].prod(dim=-1) - intersection)
