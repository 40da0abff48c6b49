"""Training by the loss that a model of the `transformers` library computes itself, as its users train it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from halftime.plugin import Batch, TrainingTask

Ratio = tuple[Tensor | float, Tensor | float]


class OwnLoss(TrainingTask):
    """A batch is a dict of the model's keyword arguments, with its labels.

    Best values are those of any function of the inputs; an architecture may not reach them, for instance one that
    predicts one class for four by four pixels.
    """

    @override
    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        return self.run(model, batch).loss  # type: ignore[no-any-return] # the library's outputs are not typed

    @override
    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Ratio]:
        output, count = self.run(model, batch), self.predictions(batch)
        return {"loss": (output.loss * count, count), **self.measure(output, batch)}

    def run(self, model: Callable[..., Any], batch: Batch) -> Any:  # noqa: ANN401 # the library's output
        """Returns the model's output, which has its loss."""
        return model(**batch)

    @abstractmethod
    def measure(self, output: Any, batch: Batch) -> Mapping[str, Ratio]:  # noqa: ANN401 # the library's output
        """Returns a sum and a count for every metric but the loss."""
