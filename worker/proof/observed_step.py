"""One step of the real training loop under watch: dtypes, operations, and what makes the host wait."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from worker.data import Batch
from worker.precision import DtypeWatch
from worker.proof.products import Product, ProductWatch
from worker.training import Run, training_step

#: A convolution may be computed with as little as this share of its multiplications: Winograd's F(4 x 4, 3 x 3)
#: (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", section 4.3).
LEAST_SHARE_OF_CONVOLUTION = 1 / 4

#: Operations that hand a value of the device to the host.
WAITING = ("aten::_local_scalar_dense", "aten::nonzero")


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


class SynchronisationWatch(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's own
    """Counts the operations that make the host wait for the device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()
        self._device = device

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        """Notes what waits, and goes on. Nothing waits for a tensor of the host's, as optimizers' counters may be."""
        name = func._schema.name
        if name in WAITING and isinstance(args[0], Tensor) and args[0].device.type == self._device.type:
            self.seen[name] += 1
        return func(*args, **kwargs or {})


def observe_step(run: Run, batch: Batch) -> ObservedStep:
    """Trains one more step, of the module itself. It changes the weights and is slow: nothing of it is timed."""
    flops = FlopCounterMode(display=False)
    products = ProductWatch()
    with DtypeWatch(run.model) as dtypes, SynchronisationWatch(batch[0].device) as waits, products, flops:
        training_step(run.uncompiled(), batch)
    return ObservedStep(
        forward_dtypes=dtypes.seen(),
        least_flops=_least_flops(flops.get_flop_counts().get("Global", {})),
        synchronisations=[f"{name} × {times}" for name, times in sorted(waits.seen.items())],
        products=products.by_dtype(),
    )


def _least_flops(counts: dict[Any, int]) -> int:
    """Of what was counted by operation, as many as any known algorithm needs."""
    return round(sum(count * _least_share(str(operation)) for operation, count in counts.items()))


def _least_share(operation: str) -> float:
    if "convolution" in operation:
        return LEAST_SHARE_OF_CONVOLUTION
    return 0 if "attention" in operation else 1  # a causal kernel skips half of what is counted
