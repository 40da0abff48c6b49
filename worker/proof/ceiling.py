"""Measures the device's fastest matrix product in a precision: an upper bound of training throughput.

Measures square products of growing size in every layout that training uses, until they take long enough for overheads
to be negligible, and the products of the model's own step. A measurement needs no table of devices.
"""

import time
from collections.abc import Iterable, Sequence

import torch

from worker.errors.out_of_memory import is_out_of_memory
from worker.proof.products import Product, product_seconds, square_products
from worker.training.precision import Precision

SIZES = (256, 512, 1024, 2048, 4096, 8192)

#: Size and duration from which on overheads of a product are negligible.
LEAST_SIZE, LONG_ENOUGH_SECONDS = 1024, 0.005
#: Duration from which on larger products need not be measured, whatever the size.
LONG_SECONDS = 0.05

#: Limit of the total duration of the model's own products; on slower devices the square ones suffice.
MODEL_SECONDS = 0.5


def measure_ceiling(precision: Precision, device: torch.device, of_the_model: Iterable[Product] = ()) -> float | None:
    """FLOP/s of the fastest matrix product, under the current switches.

    The operands have autocast's dtype. None if memory was too small for products of a conclusive size.
    """
    best, conclusive = 0.0, False
    for size in SIZES:
        rates = _rates(square_products(size), precision, device)
        if rates is None:
            break
        best = max(best, *rates)
        slowest_seconds = 2 * size**3 / min(rates)
        conclusive = size >= LEAST_SIZE or slowest_seconds >= LONG_SECONDS
        if conclusive and slowest_seconds >= LONG_ENOUGH_SECONDS:
            break
    if not conclusive:
        return None
    return max(best, _fastest(of_the_model, precision, device))


def training_rate(precision: Precision, device: torch.device) -> float | None:
    """FLOP/s of a linear layer's three products combined, at the first size that takes long enough.

    None if memory ran out at the smallest size.
    """
    rate = None
    for size in SIZES:
        rates = _rates(square_products(size), precision, device)
        if rates is None:
            break
        rate = combined_rate(rates)
        if 2 * size**3 / min(rates) >= LONG_ENOUGH_SECONDS:
            break
    return rate


def combined_rate(rates: Sequence[float]) -> float:
    """FLOP/s of a sequence of products with equal FLOPs."""
    return len(rates) / sum(1 / rate for rate in rates)


def _rates(products: Sequence[Product], precision: Precision, device: torch.device) -> list[float] | None:
    """FLOP/s of every product; None if memory ran out."""
    try:
        return [one.flops / product_seconds(one, precision.matmul_dtype, device) for one in products]
    except RuntimeError as error:
        if is_out_of_memory(error):
            return None
        raise


def _fastest(products: Iterable[Product], precision: Precision, device: torch.device) -> float:
    """FLOP/s of the fastest of the model's products that fit into the time limit; 0 without any."""
    ends = time.perf_counter() + MODEL_SECONDS
    best = 0.0
    for product in products:
        if time.perf_counter() >= ends:
            break
        best = max(best, *(_rates([product], precision, device) or [0.0]))
    return best
