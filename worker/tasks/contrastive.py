"""Contrastive learning of images and texts (Radford et al. 2021, CLIP; Zhai et al. 2023, SigLIP)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from halftime.plugin import Batch, Images, Metric, Source
from worker.data.source import seeded
from worker.data.synthetic.captions import CaptionSource
from worker.tasks.own_loss import OwnLoss, Ratio


@dataclass(frozen=True)
class Contrastive(OwnLoss):
    """Batches have `pixel_values` (samples, channels, height, width) and `input_ids` (samples, length), int64.

    The loss compares every image with every text of a batch. So under gradient accumulation, where a part is compared
    only with itself, it is not that of the whole batch.
    """

    channels: int
    height: int
    width: int
    vocab_size: int
    length: int
    #: The token that ends a text.
    last_token: int

    reported = (
        Metric("loss", "lower", "validation loss", "nats"),
        Metric("retrieval_accuracy", "higher", best=1.0, is_share=True),
        Metric("pair_accuracy", "higher", "accuracy between two pairs", best=1.0, chance=0.5),
    )

    @override
    def run(self, model: Callable[..., Any], batch: Batch) -> Any:
        return model(**batch, return_loss=True)

    @override
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:
        texts = batch["input_ids"]
        equal = (texts[:, None] == texts).all(dim=-1)
        measured = [retrieval(similarity, equal) for similarity in (output.logits_per_image, output.logits_per_text)]
        found, better = (sum(values) for values in zip(*measured, strict=True))
        return {
            "retrieval_accuracy": (found, 2 * len(texts)),
            "pair_accuracy": (better, 2 * (~equal).sum()),
        }

    @override
    def source(self, seed: int) -> Source:
        images = Images(self.channels, self.height, self.width, num_classes=0)
        return CaptionSource(images, self.vocab_size, self.length, self.last_token, seeded("task", seed))


def retrieval(similarity: Tensor, equal: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity of n queries to n candidates, of which the i-th belongs to the i-th query, and which are equal.

    Returns in how many queries the most similar candidate is its own or an equal one, and in how many pairs of a query
    and an unequal candidate the own one is more similar.
    """
    rows = torch.arange(len(similarity), device=similarity.device)
    found = equal[rows, similarity.argmax(dim=1)]
    own_is_closer = similarity.diagonal()[:, None] > similarity
    return found.sum(), (own_is_closer & ~equal).sum()
