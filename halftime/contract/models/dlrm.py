"""A recommendation model that predicts clicks."""

import itertools
from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.strict import Input

Width = Annotated[int, Field(ge=1, le=65_536)]


class DlrmSpec(Input):
    """Embedding bags of categories, dot products of all pairs, and two multilayer perceptrons; predicts a click.

    The architecture is DLRM (Naumov et al. 2019, "Deep Learning Recommendation Model for Personalization and
    Recommendation Systems"). The defaults are the widths and the number of tables that its authors use for the Criteo
    Kaggle data set, with small tables.
    """

    kind: Literal["dlrm"] = "dlrm"
    num_tables: int = Field(default=26, ge=1, le=1024, description="categorical features, each with a table")
    rows_per_table: int = Field(default=10_000, ge=2, le=100_000_000, description="categories of each feature")
    bag_size: int = Field(default=1, ge=1, le=1024, description="categories of each feature that a sample has")
    embedding_dim: int = Field(default=16, ge=1, le=4096, description="width of an embedding")
    dense_features: int = Field(default=13, ge=1, le=65_536, description="numeric features of a sample")
    bottom_widths: list[Width] = Field(
        default=[512, 256, 64],
        max_length=64,
        description="hidden layers of the perceptron of the numeric features, which ends with embedding_dim outputs",
    )
    top_widths: list[Width] = Field(
        default=[512, 256],
        max_length=64,
        description="hidden layers of the perceptron of the interactions, which ends with one output",
    )

    @property
    def bottom(self) -> list[int]:
        """Widths of the perceptron of the numeric features, from input to output."""
        return [self.dense_features, *self.bottom_widths, self.embedding_dim]

    @property
    def top(self) -> list[int]:
        """Widths of the perceptron of the interactions, from input to output."""
        return [self.embedding_dim + self._vectors * (self._vectors - 1) // 2, *self.top_widths, 1]

    def parameter_count(self) -> int:
        """Counts tables, weights and biases of the module that `worker/models/dlrm.py` builds."""
        tables = self.num_tables * self.rows_per_table * self.embedding_dim
        return tables + self._weights() + sum(self.bottom[1:]) + sum(self.top[1:])

    def training_flops_per_sample(self) -> int:
        """Counts 6 FLOP per weight of a perceptron and per product of the interactions; looking up is no arithmetic."""
        return 6 * (self._weights() + self._vectors**2 * self.embedding_dim)

    @property
    def _vectors(self) -> int:
        """Vectors that interact: one of every table, and that of the numeric features."""
        return self.num_tables + 1

    def _weights(self) -> int:
        return sum(
            fan_in * fan_out for widths in (self.bottom, self.top) for fan_in, fan_out in itertools.pairwise(widths)
        )
