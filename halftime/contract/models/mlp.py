"""A multilayer perceptron that classifies vectors or predicts numbers from them."""

import itertools
from typing import Literal, Self

from pydantic import Field, model_validator

from halftime.contract.models.outputs import require_used_counts, without_unused_count
from halftime.contract.strict import Input


class MlpSpec(Input):
    """Linear → GELU, `num_layers` times, then a linear layer with an output for every class or target."""

    kind: Literal["mlp"] = "mlp"
    task: Literal["classification", "regression"] = Field(
        default="classification", description="`regression` predicts numbers and is trained by mean squared error"
    )
    input_size: int = Field(default=256, ge=1, le=65_536, description="features of one input vector")
    hidden_size: int = Field(default=1024, ge=1, le=65_536, description="width of every hidden layer")
    num_layers: int = Field(default=3, ge=1, le=512, description="hidden layers")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout probability after every hidden layer")
    num_classes: int = Field(default=10, ge=2, le=100_000, description="number of classes; of a classification alone")
    num_targets: int = Field(
        default=1, ge=1, le=65_536, description="numbers that a regression predicts; of a regression alone"
    )

    _without_unused_count = model_validator(mode="before")(without_unused_count)

    @model_validator(mode="after")
    def _uses_its_counts(self) -> Self:
        require_used_counts(self, self.task)
        return self

    @property
    def num_outputs(self) -> int:
        """Width of the last layer."""
        return self.num_targets if self.task == "regression" else self.num_classes

    def parameter_count(self) -> int:
        """Counts weights and biases of the module that `worker/models/mlp.py` builds."""
        widths = [self.input_size, *[self.hidden_size] * self.num_layers, self.num_outputs]
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(widths))

    def training_flops_per_sample(self) -> int:
        """Counts 2 + 4 FLOP per weight, forward and backward (Kaplan et al. 2020, section 2.1)."""
        return 6 * self.parameter_count()
