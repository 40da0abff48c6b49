"""How batches reach the training loop: they lie on the device already, or a real DataLoader makes them meanwhile."""

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
from torch.utils.data import DataLoader, Dataset, get_worker_info

from halftime.contract.report.failure import Failure
from halftime.contract.request.data import LoaderConfig
from halftime.plugin import Source
from worker.data.loader_limits import PATIENCE_SECONDS, PREFETCH, in_shared_memory
from worker.data.source import Batch, seeded, sha256
from worker.errors import TrialFailed

#: Linux's prctl(2): a signal for the day the parent dies.
PR_SET_PDEATHSIG = 1

#: What a loader's process hands over: a batch and its hash, or why there is none.
Made = tuple[Batch, bytes] | Failure


class Batches(Protocol):
    """Batches by the number of their step."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Batch: ...


class Feed(Protocol):
    """Hands the training loop one batch after the other, on the device."""

    def next(self) -> Batch:
        """The next one."""

    def waited_seconds(self, first_step: int) -> float | None:
        """What the loop waited for the batches from this step on; None where there was nothing to wait for."""

    def sha256(self, at_hand: str) -> str:
        """Of all data: what was at hand before, and what was handed out since."""

    def close(self) -> None:
        """Ends what makes batches."""


@dataclass(frozen=True)
class Place:
    """Where batches are trained on."""

    device: torch.device
    #: Of images.
    memory_format: torch.memory_format

    def put(self, batch: Batch, non_blocking: bool = False) -> Batch:
        """The batch there."""
        inputs, targets = (tensor.to(self.device, non_blocking=non_blocking) for tensor in batch)
        is_images = inputs.dim() == 4 and inputs.is_floating_point()  # samples, channels, height, width
        if is_images and self.memory_format is torch.channels_last:
            inputs = inputs.contiguous(memory_format=self.memory_format)
        return inputs, targets


@dataclass(frozen=True)
class DrawnBatches:
    """Batches that are drawn when they are asked for, each from its own seed: the same whoever asks, and when."""

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
        """The batch of a step, on the CPU."""
        return self.source.sample("training", self.batch_size, seeded(f"training batch {index}", self.block_seed))


class ResidentFeed:
    """Batches that lie on the device, over and over."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = itertools.cycle(batches)

    def next(self) -> Batch:
        """The next one."""
        return next(self._batches)

    def waited_seconds(self, first_step: int) -> float | None:
        """There is nothing to wait for."""

    def sha256(self, at_hand: str) -> str:
        """All of it was at hand."""
        return at_hand

    def close(self) -> None:
        """There is nothing to end."""


class LoaderFeed:
    """Batches from a `torch.utils.data.DataLoader`, in the order of their steps whatever process makes them."""

    def __init__(self, batches: DrawnBatches, loader: LoaderConfig) -> None:
        self._place = batches.place
        self._waits: list[float] = []
        self._hashes: list[bytes] = []
        others = multiprocessing.active_children()
        self._made: Iterator[Made] = iter(
            DataLoader(
                _Maker(batches),
                batch_size=None,  # a batch is an item
                num_workers=loader.workers,
                prefetch_factor=PREFETCH if loader.workers else None,
                timeout=PATIENCE_SECONDS if loader.workers else 0,
                pin_memory=loader.pin_memory and batches.place.device.type == "cuda",
                collate_fn=_as_it_is,
                worker_init_fn=partial(_die_with, os.getpid()),
                # Forked: all of them share what the source holds. They touch no CUDA.
                multiprocessing_context="fork" if loader.workers else None,
                generator=seeded("loader", batches.block_seed),  # torch's global one is the model's
            )
        )
        self._processes = [child for child in multiprocessing.active_children() if child not in others]

    def next(self) -> Batch:
        """The next one; the copy to the device goes on while the host does. Raises what the source raised.

        Raises RuntimeError where none comes: `loader_failure` says what it means.
        """
        began = time.perf_counter()
        try:
            made = next(self._made)
        except RuntimeError:
            for process in self._processes:  # at its end, the iterator would wait 5 s for each that hangs
                process.terminate()
            raise
        self._waits.append(time.perf_counter() - began)
        if isinstance(made, Failure):
            raise TrialFailed(made)
        batch, batch_hash = made
        self._hashes.append(batch_hash)
        return self._place.put(batch, non_blocking=True)

    def waited_seconds(self, first_step: int) -> float | None:
        """For the loader, not for the copy."""
        return sum(self._waits[first_step:])

    def sha256(self, at_hand: str) -> str:
        """From the hashes of the batches, each taken where it was made: the loop has no time for that."""
        return hashlib.sha256(b"".join([bytes.fromhex(at_hand), *self._hashes])).hexdigest()

    def close(self) -> None:
        """Ends the loader's processes and waits for their end."""
        self._made = iter(())  # the DataLoader's iterator ends them when nobody holds it


class _Maker(Dataset[Made]):
    """What runs in a loader's process."""

    def __init__(self, batches: DrawnBatches) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Made:
        try:
            batch = self._batches.draw(index)
            if get_worker_info() is not None:
                batch = in_shared_memory(batch)
        except TrialFailed as error:  # torch would hand over its text alone
            return error.failure
        return batch, sha256([batch])


def _as_it_is(made: Any) -> Any:  # noqa: ANN401 # torch's signature
    return made


def _die_with(trial: int, worker: int) -> None:
    """A loader's process that outlived its trial would keep the trial's pipes open, and the worker listening."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != trial:  # it died before that
        os.kill(os.getpid(), signal.SIGKILL)
