"""DLRM (Naumov et al. 2019, "Deep Learning Recommendation Model for Personalization and Recommendation Systems")."""

import itertools

import torch
from torch import Tensor, nn
from typing_extensions import override

from halftime.contract.models import DlrmSpec


class Dlrm(nn.Module):
    """Numeric features (batch, dense_features) and categories (batch, tables, bag) → the logit of a click (batch,)."""

    pairs: Tensor

    def __init__(self, spec: DlrmSpec) -> None:
        super().__init__()
        self.tables = nn.ModuleList(_table(spec.rows_per_table, spec.embedding_dim) for _ in range(spec.num_tables))
        self.bottom = nn.Sequential(*_perceptron(spec.bottom), nn.ReLU())
        self.top = nn.Sequential(*_perceptron(spec.top))
        vectors = spec.num_tables + 1
        rows, columns = torch.tril_indices(vectors, vectors, offset=-1)
        #: Places of the pairs in the flattened matrix of products.
        self.register_buffer("pairs", rows * vectors + columns, persistent=False)

    @override
    def forward(self, dense: Tensor, categories: Tensor) -> Tensor:
        """Returns the logits."""
        numeric = self.bottom(dense)
        bags = [table(categories[:, place]) for place, table in enumerate(self.tables)]
        vectors = torch.stack([numeric, *bags], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)[:, self.pairs]
        logits: Tensor = self.top(torch.cat([numeric, products], dim=1))
        return logits.squeeze(1)


def _table(rows: int, width: int) -> nn.EmbeddingBag:
    """Sums of rows, with the authors' initial weights."""
    table = nn.EmbeddingBag(rows, width, mode="sum")
    nn.init.uniform_(table.weight, -(rows**-0.5), rows**-0.5)
    return table


def _perceptron(widths: list[int]) -> list[nn.Module]:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.ReLU()] if layers else []
        layers.append(nn.Linear(fan_in, fan_out))
    return layers
