"""Example of a training task whose batches have two inputs: two towers, trained by contrast within the batch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from halftime.plugin import LOSS, Blueprint, Metric, Part, TrainingTask


class Towers(nn.Module):
    """Maps queries and documents to unit vectors, each by a network of its own."""

    def __init__(self, query_size: int, document_size: int, width: int) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.Linear(query_size, width), nn.GELU(), nn.Linear(width, width))
        self.document = nn.Sequential(nn.Linear(document_size, width), nn.GELU(), nn.Linear(width, width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, queries: Tensor, documents: Tensor) -> Tensor:
        """Returns the similarity of every query with every document of its group, times a scale.

        From (groups, samples, size) each to (groups, queries, documents).
        """
        left = functional.normalize(self.query(queries), dim=-1)
        right = functional.normalize(self.document(documents), dim=-1)
        return left @ right.mT * self.log_scale.exp()


@dataclass(frozen=True)
class Retrieval(TrainingTask):
    """Every query is to find its own document among those of `group` samples (InfoNCE; van den Oord et al. 2018).

    A sample is a whole group: however a batch is split, a query chooses from as many documents.
    """

    query_size: int
    document_size: int
    group: int

    @property
    def reported(self) -> tuple[Metric, Metric]:  # type: ignore[override] # chance depends on the group
        """The loss in nats, and the share of queries whose own document is the most similar."""
        return (
            Metric("loss", "lower", LOSS.title, "nats", chance=math.log(self.group)),
            Metric("retrieval_accuracy", "higher", chance=1 / self.group, is_share=True),
        )

    @property
    def predictions_per_sample(self) -> int:  # type: ignore[override] # depends on the group
        """One per query of a group."""
        return self.group

    def loss(self, model: Callable[..., Any], batch: dict[str, Tensor]) -> Tensor:
        """Mean negative log softmax of a query's similarity with its own document, over the documents of its group."""
        return _cross_entropy(model(batch["queries"], batch["documents"]))

    def metrics(self, model: nn.Module, batch: dict[str, Tensor]) -> Mapping[str, tuple[Tensor | float, float]]:
        """Sums over queries."""
        similarities = model(batch["queries"], batch["documents"])
        count = self.predictions(batch)
        found = similarities.argmax(dim=-1) == torch.arange(self.group, device=similarities.device)
        return {
            "loss": (_cross_entropy(similarities) * count, count),
            "retrieval_accuracy": (found.sum(), count),
        }

    def predictions(self, batch: dict[str, Tensor]) -> int:
        """Number of queries."""
        return len(batch["queries"]) * self.group

    def source(self, seed: int) -> "Pairs":
        """Queries and documents that are two views of a hidden vector."""
        return Pairs(self, seed)


def _cross_entropy(similarities: Tensor) -> Tensor:
    own = torch.arange(similarities.shape[-1], device=similarities.device).expand(similarities.shape[:2])
    return functional.cross_entropy(similarities.flatten(0, 1), own.flatten())


class Pairs:
    """Query and document are noisy projections of one hidden vector; the best possible figures are unknown."""

    best_possible_loss = None
    best_possible_accuracy = None

    def __init__(self, task: Retrieval, seed: int, hidden_size: int = 8, noise: float = 1.0) -> None:
        self.task, self.noise = task, noise
        generator = torch.Generator().manual_seed(seed)
        self.to_query = torch.randn(hidden_size, task.query_size, generator=generator) / math.sqrt(hidden_size)
        self.to_document = torch.randn(hidden_size, task.document_size, generator=generator) / math.sqrt(hidden_size)
        self.sample_bytes = 4 * task.group * (task.query_size + task.document_size)

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws groups: queries (count, group, size) and documents (count, group, size). Parts do not overlap."""
        hidden = torch.randn(count, self.task.group, len(self.to_query), generator=generator)
        return {
            "queries": self._view(hidden @ self.to_query, generator),
            "documents": self._view(hidden @ self.to_document, generator),
        }

    def _view(self, values: Tensor, generator: torch.Generator) -> Tensor:
        return values + self.noise * torch.randn(values.shape, generator=generator)


def towers(width: int = 64, query_size: int = 16, document_size: int = 24, group: int = 16) -> Blueprint:
    """Two towers, for retrieval."""
    return Blueprint(Retrieval(query_size, document_size, group), lambda: Towers(query_size, document_size, width))
