"""Batches: trees of tensors whose first dimension is the samples."""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.utils import _pytree as pytree  # torch's own trees; it has no public name for them yet

from halftime.plugin import Batch


def tensors_of(batch: Batch) -> list[Tensor]:
    """The tensors of a batch, in the order of the tree."""
    leaves: list[Tensor] = pytree.tree_leaves(batch)
    return leaves


def map_tensors(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """Applies a function to every tensor."""
    return pytree.tree_map(function, batch)


def samples_in(batch: Batch) -> int:
    """Number of samples."""
    return len(tensors_of(batch)[0])


def bytes_of(batch: Batch) -> int:
    """Size of all tensors."""
    return sum(tensor.nbytes for tensor in tensors_of(batch))


def device_of(batch: Batch) -> torch.device:
    """The device of the batch."""
    return tensors_of(batch)[0].device


def first_samples(batch: Batch, count: int) -> Batch:
    """The first samples, as views."""
    return map_tensors(lambda tensor: tensor[:count], batch)


def chunks(batch: Batch, parts: int) -> Sequence[Batch]:
    """Splits a batch into equal parts, as views."""
    return _transposed([tensor.chunk(parts) for tensor in tensors_of(batch)], batch)


def split(batch: Batch, size: int) -> Sequence[Batch]:
    """Splits a batch into parts of `size` samples, the last possibly smaller, as views."""
    return _transposed([torch.split(tensor, size) for tensor in tensors_of(batch)], batch)


def sha256(batches: Iterable[Batch]) -> bytes:
    """Hash of every tensor, in order."""
    digest = hashlib.sha256()
    for tensor in (tensor for batch in batches for tensor in tensors_of(batch)):
        digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.digest()


def _transposed(parts_of_tensors: Iterable[Sequence[Tensor]], like: Batch) -> Sequence[Batch]:
    """Trees like a batch, each of one part of every tensor."""
    structure = pytree.tree_structure(like)
    return [pytree.tree_unflatten(parts, structure) for parts in zip(*parts_of_tensors, strict=True)]
