"""Batches, their seeded generators, and their hash."""

import hashlib

import torch
from torch import Tensor

#: Inputs and targets; the first dimension is the samples.
Batch = tuple[Tensor, Tensor]


def seeded(stream: str, seed: int) -> torch.Generator:
    """Creates a separate generator for each purpose, so that no stream shifts another."""
    digest = hashlib.sha256(f"{stream}:{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def sha256(batches: list[Batch]) -> bytes:
    """Hash of every tensor, in order."""
    digest = hashlib.sha256()
    for tensor in (tensor for batch in batches for tensor in batch):
        digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.digest()
