"""Matrix products of training, and how long each takes.

A linear layer has three products: input and weight, output gradient and weight, and output gradient and input. They
differ in which operand is transposed in memory, and a kernel may be twenty times faster in one layout than in
another.
"""

import functools
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from worker.proof.timing import REPEATS, fastest_seconds


@dataclass(frozen=True)
class Product:
    """A product of two matrices, or of two batches of them, and which operand is transposed in memory."""

    rows: int
    inner: int
    columns: int
    left_transposed: bool = False
    right_transposed: bool = False
    batch: int = 1

    @classmethod
    def of(cls, left: Tensor, right: Tensor) -> Self:
        """Describes the product of two operands of two or three dimensions."""
        rows, inner = left.shape[-2:]
        batch = len(left) if left.dim() > 2 else 1
        return cls(rows, inner, right.shape[-1], _is_transposed(left), _is_transposed(right), batch)

    @property
    def flops(self) -> int:
        """FLOPs: one multiplication and one addition per term."""
        return 2 * self.batch * self.rows * self.inner * self.columns


def square_products(size: int) -> list[Product]:
    """Returns products of square matrices in the three layouts of a linear layer's forward and backward pass."""
    layouts = [(False, True), (False, False), (True, False)]
    return [Product(size, size, size, left, right) for left, right in layouts]


def product_seconds(product: Product, dtype: torch.dtype, device: torch.device, repeats: int = REPEATS) -> float:
    """Seconds of the fastest execution, synchronised before and after. Raises torch's out-of-memory error."""
    left = _operand(product.batch, product.rows, product.inner, product.left_transposed, dtype, device)
    right = _operand(product.batch, product.inner, product.columns, product.right_transposed, dtype, device)
    result = torch.empty(product.batch, product.rows, product.columns, dtype=dtype, device=device)
    if product.batch == 1:
        multiply = functools.partial(torch.mm, left[0], right[0], out=result[0])
    else:
        multiply = functools.partial(torch.bmm, left, right, out=result)
    return fastest_seconds(multiply, device, repeats)


def _is_transposed(matrix: Tensor) -> bool:
    """Whether the columns, not the rows, are contiguous in memory."""
    return matrix.stride(-2) == 1 and matrix.stride(-1) != 1


def _operand(batch: int, rows: int, columns: int, transposed: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    shape = (batch, columns, rows) if transposed else (batch, rows, columns)
    values = torch.randn(shape, device=device).to(dtype)
    return values.transpose(-2, -1) if transposed else values
