"""Feeds batches to the training loop: from the device, or from a torch DataLoader that draws them meanwhile."""

import ctypes
import hashlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info
from typing_extensions import override

from halftime.contract.report.failure import Failure
from halftime.contract.request.data import LoaderConfig
from halftime.plugin import Batch, Source
from worker.data.batches import map_tensors, sha256
from worker.data.loader_limits import BATCH_TIMEOUT_SECONDS, PREFETCH, in_shared_memory
from worker.data.source import seeded
from worker.errors import TrialFailed

#: Option of Linux's prctl(2): the signal to send when the parent dies.
PR_SET_PDEATHSIG = 1

#: Item of a loader process: a batch and its hash, or a failure.
Item = tuple[Batch, bytes] | Failure


class Batches(Protocol):
    """Batches by step index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Batch: ...


class Feed(Protocol):
    """Provides the training loop with one batch after the other, on the device."""

    def next(self) -> Batch:
        """The next one."""

    def waited_seconds(self, first_step: int) -> float | None:
        """Returns the seconds that the loop waited for batches from this step on; None if batches are resident."""

    def sha256(self, drawn_before: str) -> str:
        """Hash of all data: `drawn_before` is that of the batches drawn before training."""

    def close(self) -> None:
        """Ends the processes that draw batches."""


@dataclass(frozen=True)
class Place:
    """Device and memory format of batches."""

    device: torch.device
    #: Memory format of images.
    memory_format: torch.memory_format

    def put(self, batch: Batch, non_blocking: bool = False) -> Batch:
        """Returns the batch on the device."""

        def put(tensor: Tensor) -> Tensor:
            moved = tensor.to(self.device, non_blocking=non_blocking)
            is_images = moved.dim() == 4 and moved.is_floating_point()  # samples, channels, height, width
            if is_images and self.memory_format is torch.channels_last:
                return moved.contiguous(memory_format=self.memory_format)
            return moved

        return map_tensors(put, batch)


@dataclass(frozen=True)
class DrawnBatches:
    """Batches drawn on access, each from its own seed, so that they do not depend on the process or the order."""

    source: Source
    batch_size: int
    steps: int
    block_seed: int
    place: Place = Place(torch.device("cpu"), torch.preserve_format)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        return self.place.put(self.draw(index))

    def draw(self, index: int) -> Batch:
        """Draws the batch of a step, on the CPU."""
        return self.source.sample("training", self.batch_size, seeded(f"training batch {index}", self.block_seed))


class ResidentFeed:
    """Repeats batches that are on the device."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = itertools.cycle(batches)

    def next(self) -> Batch:
        """The next one."""
        return next(self._batches)

    def waited_seconds(self, first_step: int) -> float | None:
        """Returns None: there is nothing to wait for."""

    def sha256(self, drawn_before: str) -> str:
        """Returns `drawn_before`: all data was drawn before training."""
        return drawn_before

    def close(self) -> None:
        """Does nothing."""


class LoaderFeed:
    """Batches from a `torch.utils.data.DataLoader`, in the order of steps."""

    def __init__(self, batches: DrawnBatches, loader: LoaderConfig) -> None:
        self._place = batches.place
        self._waits: list[float] = []
        self._hashes: list[bytes] = []
        others = multiprocessing.active_children()
        self._items: Iterator[Item] = iter(
            DataLoader(
                _BatchDataset(batches),
                batch_size=None,  # a batch is an item
                num_workers=loader.workers,
                prefetch_factor=PREFETCH if loader.workers else None,
                timeout=BATCH_TIMEOUT_SECONDS if loader.workers else 0,
                pin_memory=loader.pin_memory and batches.place.device.type == "cuda",
                collate_fn=_identity,
                worker_init_fn=partial(_end_with_trial, os.getpid()),
                # Forked, so that they share the source's memory. They do not use CUDA.
                multiprocessing_context="fork" if loader.workers else None,
                generator=seeded("loader", batches.block_seed),  # torch's global generator is for the model
            )
        )
        self._processes = [child for child in multiprocessing.active_children() if child not in others]

    def next(self) -> Batch:
        """Returns the next batch; the copy to the device is asynchronous. Raises what the source raised.

        Raises RuntimeError when no batch arrives: see `loader_failure`.
        """
        began = time.perf_counter()
        try:
            item = next(self._items)
        except RuntimeError:
            for process in self._processes:  # the iterator's cleanup would wait 5 s for each that hangs
                process.terminate()
            raise
        self._waits.append(time.perf_counter() - began)
        if isinstance(item, Failure):
            raise TrialFailed(item)
        batch, batch_hash = item
        self._hashes.append(batch_hash)
        return self._place.put(batch, non_blocking=True)

    def waited_seconds(self, first_step: int) -> float | None:
        """Returns the seconds waited for the loader, without the copy."""
        return sum(self._waits[first_step:])

    def sha256(self, drawn_before: str) -> str:
        """Combines the hashes that the loader's processes computed: hashing in the loop would take time."""
        return hashlib.sha256(b"".join([bytes.fromhex(drawn_before), *self._hashes])).hexdigest()

    def close(self) -> None:
        """Ends the loader's processes and waits for their end."""
        self._items = iter(())  # the DataLoader's iterator ends them when it is garbage collected


class _BatchDataset(Dataset[Item]):
    """The dataset in a loader process: items are batches."""

    def __init__(self, batches: DrawnBatches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    @override
    def __getitem__(self, index: int) -> Item:
        try:
            batch = self._batches.draw(index)
            if get_worker_info() is not None:
                batch = in_shared_memory(batch)
        except TrialFailed as error:  # torch would pass on only its text
            return error.failure
        return batch, sha256([batch])


def _identity(item: Any) -> Any:  # noqa: ANN401 # torch's signature
    return item


def _end_with_trial(trial: int, worker: int) -> None:
    """Ends a loader process with its trial: otherwise it would keep the trial's pipes open, and the worker reading."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != trial:  # it has already died
        os.kill(os.getpid(), signal.SIGKILL)
