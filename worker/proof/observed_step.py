"""One step of the real training loop under watch: dtypes, operations, and what makes the host wait."""

from dataclasses import dataclass

import torch

from worker.data import Batch
from worker.proof.flops import FlopWatch
from worker.proof.products import Product, ProductWatch
from worker.proof.waits import SynchronisationWatch
from worker.training.loop import Run, training_step
from worker.training.precision import DtypeWatch


@dataclass(frozen=True)
class ObservedStep:
    """What was seen in one step."""

    #: Output dtype of every matrix-multiplying module, by module kind.
    forward_dtypes: dict[str, list[str]]
    least_flops: int
    #: Operations that wait, each with how often it did.
    synchronisations: list[str]
    #: Matrix products by the dtype of their operands, those that do most of the work first.
    products: dict[torch.dtype, list[Product]]


def observe_step(run: Run, batch: Batch) -> ObservedStep:
    """Trains one more step, of the module itself. It changes the weights and is slow: nothing of it is timed."""
    dtypes, waits = DtypeWatch(run.model), SynchronisationWatch(batch[0].device)
    with dtypes, waits, ProductWatch() as products, FlopWatch() as flops:
        training_step(run.uncompiled(), batch)
    return ObservedStep(
        forward_dtypes=dtypes.seen(),
        least_flops=flops.least_flops(),
        synchronisations=waits.found(),
        products=products.by_dtype(),
    )
