"""Semantic segmentation: one class for every pixel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from halftime.plugin import Batch, Images, Metric, Source
from worker.data.chance import chance_of
from worker.data.source import seeded
from worker.data.synthetic.scenes import SegmentationSource
from worker.tasks.own_loss import OwnLoss, Ratio

#: Predictions that an image counts as when held-out samples are chosen: its pixels are far from independent.
PREDICTIONS_PER_IMAGE = 32


@dataclass(frozen=True)
class Segmentation(OwnLoss):
    """Batches have `pixel_values` (samples, channels, height, width) and `labels` (samples, height, width), int64.

    The loss is a mean over pixels, plus those of auxiliary heads in some architectures.
    """

    images: Images
    predictions_per_sample = PREDICTIONS_PER_IMAGE

    @property
    @override
    def reported(self) -> tuple[Metric, ...]:  # type: ignore[override] # computed, because chance depends on the classes
        return (
            Metric("loss", "lower", "validation loss", "nats"),
            Metric("pixel_accuracy", "higher", chance=1 / self.images.num_classes, is_share=True),
            Metric("mean_iou_per_image", "higher", "mean IoU per image"),
        )

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        labels = batch["labels"]
        logits = functional.interpolate(output.logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        predicted = logits.argmax(dim=1)
        overlaps = mean_ious(predicted, labels, self.images.num_classes)
        return {
            "pixel_accuracy": ((predicted == labels).sum(), labels.numel()),
            "mean_iou_per_image": (overlaps.sum(), len(overlaps)),
        }

    @override
    def chance(self, held_out: Sequence[Batch]) -> dict[str, float]:
        found = chance_of((batch["labels"] for batch in held_out), self.images.num_classes)
        return {"pixel_accuracy": found.accuracy}

    @override
    def source(self, seed: int) -> Source:
        return SegmentationSource(self.images, seeded("task", seed))


def mean_ious(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """(samples, height, width) classes, twice → (samples,): the mean IoU of the classes in an image or its prediction.

    Its mean over images is a mean over samples, which that of classes over a whole data set is not (Wang et al. 2023,
    "Revisiting Evaluation Metrics for Semantic Segmentation", section 3).
    """
    samples = len(labels)
    first = torch.arange(samples, device=labels.device)[:, None, None] * num_classes

    def pixels(classes: Tensor) -> Tensor:
        return classes.flatten().bincount(minlength=samples * num_classes).view(samples, num_classes)

    # Pixels that are wrong are counted in a bin after the last, which is left out.
    right = torch.where(predicted == labels, first + labels, samples * num_classes).flatten()
    intersections = right.bincount(minlength=samples * num_classes + 1)[:-1].view(samples, num_classes)
    unions = pixels(first + predicted) + pixels(first + labels) - intersections
    return (intersections / unions.clamp(min=1)).sum(dim=1) / (unions > 0).sum(dim=1)
