"""Observes one training step: dtypes, operations, and what makes the host wait."""

from dataclasses import dataclass

import torch

from halftime.plugin import Batch
from worker.data.batches import device_of
from worker.proof.flops import FlopWatch
from worker.proof.products import Product, ProductWatch
from worker.proof.waits import SynchronisationWatch
from worker.training.loop import Run, training_step
from worker.training.precision import DtypeWatch


@dataclass(frozen=True)
class ObservedStep:
    """Observations of one step."""

    #: Output dtypes of matrix-multiplying modules, by class name.
    forward_dtypes: dict[str, list[str]]
    least_flops: int
    #: Operations that waited, each with its count.
    synchronisations: list[str]
    #: Matrix products by the dtype of their operands, in descending order of total work.
    products: dict[torch.dtype, list[Product]]


def observe_step(run: Run, batch: Batch) -> ObservedStep:
    """Runs one additional training step of the module itself. It changes the weights and is slow; it is not timed."""
    dtypes, waits = DtypeWatch(run.model), SynchronisationWatch(device_of(batch))
    with dtypes, waits, ProductWatch() as products, FlopWatch() as flops:
        training_step(run.uncompiled(), batch)
    return ObservedStep(
        forward_dtypes=dtypes.seen(),
        least_flops=flops.least_flops(),
        synchronisations=waits.found(),
        products=products.by_dtype(),
    )
