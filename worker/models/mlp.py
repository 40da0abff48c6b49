"""A multilayer perceptron."""

from torch import Tensor, nn
from typing_extensions import override

from halftime.contract.models import MlpSpec


class Mlp(nn.Module):
    """(batch, input_size) → (batch, num_classes)."""

    def __init__(self, spec: MlpSpec) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = spec.input_size
        for _ in range(spec.num_layers):
            layers += [nn.Linear(width, spec.hidden_size), nn.GELU()]
            if spec.dropout:
                layers.append(nn.Dropout(spec.dropout))
            width = spec.hidden_size
        self.layers = nn.Sequential(*layers, nn.Linear(width, spec.num_classes))

    @override
    def forward(self, vectors: Tensor) -> Tensor:
        """Returns the logits of every class."""
        logits: Tensor = self.layers(vectors)
        return logits
