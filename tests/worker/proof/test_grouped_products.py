"""Grouped products in FP64 against torch's own kernel in FP32, in each of its layouts, forward and backward."""

import pytest
import torch
from torch.nn import functional

from worker.proof.grouped_products import GroupedProducts

ENDS = torch.tensor([4, 4, 16], dtype=torch.int32)

#: Shapes of the operands, and whether they are in groups along a dimension.
LAYOUTS = {
    "rows": ((16, 8), (3, 8, 12), ENDS),
    "columns": ((3, 8, 12), (12, 16), ENDS),
    "terms": ((8, 16), (16, 12), ENDS),
    "batch": ((3, 8, 4), (3, 4, 12), None),
}


def product_and_gradients(shapes, ends, dtype):
    torch.manual_seed(0)
    operands = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
    product = functional.grouped_mm(*operands, offs=ends)
    product.square().sum().backward()
    return [product.detach(), *(operand.grad for operand in operands)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_computed_in_fp64_as_in_fp32(layout):
    *shapes, ends = LAYOUTS[layout]
    in_fp32 = product_and_gradients(shapes, ends, torch.float32)
    with GroupedProducts():
        in_fp64 = product_and_gradients(shapes, ends, torch.float64)
    for exact, rounded in zip(in_fp64, in_fp32, strict=True):
        assert exact.dtype is torch.float64
        torch.testing.assert_close(rounded, exact.float(), rtol=1e-4, atol=1e-4)
