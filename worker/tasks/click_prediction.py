"""Click prediction: the probability that someone clicks, trained by binary cross-entropy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.contract.models import DlrmSpec
from halftime.plugin import LOSS, Batch, Metric, Source, TrainingTask
from worker.data.source import seeded
from worker.data.synthetic.clicks import ClickSource


@dataclass(frozen=True)
class ClickPrediction(TrainingTask):
    """A batch is a dict of `dense` (samples, features), `categories` (samples, tables, bag), int64, and `clicked`
    (samples,), 0.0 or 1.0. The model maps the first two to logits (samples,)."""

    spec: DlrmSpec

    reported = (
        Metric("loss", "lower", LOSS.title, "nats"),
        Metric("accuracy", "higher", "validation accuracy", is_share=True),
    )

    @override
    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        return functional.binary_cross_entropy_with_logits(_logits(model, batch), batch["clicked"])

    @override
    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, tuple[Tensor, int]]:
        logits, clicked = _logits(model, batch), batch["clicked"]
        losses = functional.binary_cross_entropy_with_logits(logits, clicked, reduction="sum")
        correct = (logits > 0) == (clicked > 0)
        return {"loss": (losses, len(clicked)), "accuracy": (correct.sum(), len(clicked))}

    @override
    def source(self, seed: int) -> Source:
        return ClickSource(self.spec, seeded("task", seed))


def _logits(model: Callable[..., Any], batch: Batch) -> Tensor:
    logits: Tensor = model(batch["dense"], batch["categories"])
    return logits
