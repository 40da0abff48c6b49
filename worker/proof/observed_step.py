"""Observes one training step: dtypes, operations, and what makes the host wait."""

from dataclasses import dataclass

import torch

from halftime.contract.report.trial import NO_MODULE, MultiplyingModules
from halftime.plugin import Batch
from worker.data.batches import device_of
from worker.proof.multiplications import MultiplicationWatch
from worker.proof.products import Product
from worker.proof.waits import SynchronisationWatch
from worker.training.loop import Run, training_step
from worker.training.precision import DtypeWatch

#: Most kinds of modules that are reported.
MAX_MODULES = 5


@dataclass(frozen=True)
class ObservedStep:
    """Observations of one step."""

    #: Output dtypes of matrix-multiplying modules, by class name.
    forward_dtypes: dict[str, list[str]]
    #: FLOPs of all operations that multiply, by the dtype of their operands.
    multiplied_flops: dict[str, float]
    #: Where they multiplied, the most work first.
    multiplying_modules: list[MultiplyingModules]
    least_flops: int
    #: Operations that waited, each with its count.
    synchronisations: list[str]
    #: Matrix products by the dtype of their operands, in descending order of total work.
    products: dict[torch.dtype, list[Product]]

    def elsewhere(self, dtype: str) -> list[MultiplyingModules]:
        """Returns the modules that multiplied most in another dtype; the backward pass if no module did."""
        others = [one for one in self.multiplying_modules if one.dtype != dtype]
        in_modules = [one for one in others if one.module_class != NO_MODULE]
        return (in_modules or others)[:MAX_MODULES]


def observe_step(run: Run, batch: Batch) -> ObservedStep:
    """Runs one additional training step of the module itself. It changes the weights and is slow; it is not timed."""
    dtypes, waits = DtypeWatch(run.model), SynchronisationWatch(device_of(batch))
    with dtypes, waits, MultiplicationWatch(run.model) as multiplications:
        training_step(run.uncompiled(), batch)
    return ObservedStep(
        forward_dtypes=dtypes.seen(),
        multiplied_flops=multiplications.flops_by_dtype(),
        multiplying_modules=multiplications.places(),
        least_flops=multiplications.least_flops(),
        synchronisations=waits.found(),
        products=multiplications.products(),
    )
