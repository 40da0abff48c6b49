"""Seeded generators of samples, and what is known of the best possible model, and of one that has learned nothing."""

import hashlib

import torch

from halftime.plugin import Source


def seeded(stream: str, seed: int) -> torch.Generator:
    """Creates a separate generator for each purpose, so that no stream shifts another."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def best_possible(source: Source) -> dict[str, float | None]:
    """By the name of a metric, the value of the best possible model on a source's data."""
    known = {"loss": source.best_possible_loss, "accuracy": source.best_possible_accuracy}
    return known | dict(getattr(source, "best_possible", {}))


def known_chance(source: Source) -> dict[str, float | None]:
    """By the name of a metric, the value of a model that has learned nothing of a source's data."""
    return dict(getattr(source, "chance", {}))
