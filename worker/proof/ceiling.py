"""How fast this device multiplies matrices in a precision: no training in it can be faster.

Measured on the spot, so that no table of devices can be wrong: square products of growing size in every layout that
training uses, until they take long enough to be past every overhead, and the products of the model's own step.
"""

import time
from collections.abc import Iterable, Sequence

import torch

from worker.errors import is_out_of_memory
from worker.proof.products import Product, product_seconds, square_products
from worker.training.precision import Precision

SIZES = (256, 512, 1024, 2048, 4096, 8192)

#: Products of at least this size, and such as take as long as this, are past every overhead...
LEAST_SIZE, LONG_ENOUGH_SECONDS = 1024, 0.005
#: ...and such as take as long as this need no larger ones beside them, whatever their size.
LONG_SECONDS = 0.05

#: What the model's own products may take in all. On a device that is slower, the square ones tell.
MODEL_SECONDS = 0.5


def measure_ceiling(precision: Precision, device: torch.device, of_the_model: Iterable[Product] = ()) -> float | None:
    """FLOP/s of the fastest matrix product found, under the switches as they stand.

    The operands have the dtype that autocast would give them. None where there was no room for one that tells.
    """
    best, told = 0.0, False
    for size in SIZES:
        rates = _rates(square_products(size), precision, device)
        if rates is None:
            break
        best = max(best, *rates)
        slowest_seconds = 2 * size**3 / min(rates)
        told = size >= LEAST_SIZE or slowest_seconds >= LONG_SECONDS
        if told and slowest_seconds >= LONG_ENOUGH_SECONDS:
            break
    if not told:
        return None
    return max(best, _fastest(of_the_model, precision, device))


def training_rate(precision: Precision, device: torch.device) -> float | None:
    """FLOP/s of a linear layer's three products together, at the first size that takes long enough to tell.

    None where there was no room for one.
    """
    rate = None
    for size in SIZES:
        rates = _rates(square_products(size), precision, device)
        if rates is None:
            break
        rate = together(rates)
        if 2 * size**3 / min(rates) >= LONG_ENOUGH_SECONDS:
            break
    return rate


def together(rates: Sequence[float]) -> float:
    """FLOP/s of products with as many FLOPs each, one after the other."""
    return len(rates) / sum(1 / rate for rate in rates)


def _rates(products: Sequence[Product], precision: Precision, device: torch.device) -> list[float] | None:
    """FLOP/s of every product; None where memory ran out."""
    try:
        return [one.flops / product_seconds(one, precision.matmul_dtype, device) for one in products]
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise


def _fastest(products: Iterable[Product], precision: Precision, device: torch.device) -> float:
    """FLOP/s of the fastest of the model's products, as far as the time reaches; 0 without any."""
    ends = time.perf_counter() + MODEL_SECONDS
    best = 0.0
    for product in products:
        if time.perf_counter() >= ends:
            break
        best = max(best, *(_rates([product], precision, device) or [0.0]))
    return best
