"""A multilayer perceptron."""

from torch import Tensor, nn
from typing_extensions import override

from halftime.contract.models import MlpSpec
from halftime.plugin import TrainingTask, Vectors
from worker.tasks.regression import Regression


def task_of(spec: MlpSpec) -> TrainingTask | Vectors:
    """Returns the task, or for cross-entropy the shape of the data, that the model is trained on."""
    if spec.task == "regression":
        return Regression((spec.input_size,), spec.num_targets)
    return Vectors(spec.input_size, spec.num_classes)


class Mlp(nn.Module):
    """(batch, input_size) → (batch, num_outputs)."""

    def __init__(self, spec: MlpSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = spec.input_size
        for _ in range(spec.num_layers):
            layers += [nn.Linear(width, spec.hidden_size), nn.GELU()]
            if spec.dropout:
                layers.append(nn.Dropout(spec.dropout))
            width = spec.hidden_size
        self.layers = nn.Sequential(*layers, nn.Linear(width, spec.num_outputs))

    @override
    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the logits of every class, or the predicted numbers."""
        outputs: Tensor = self.layers(vectors)
        return outputs
