"""What a step multiplied in which dtype, and where: real operators under real autocast, forward and backward."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from worker.proof.multiplications import MultiplicationWatch
from worker.proof.products import Product, square_products
from worker.training.precision import DtypeWatch

NOTHING = nn.Identity()


class Experts(nn.Module):
    """A mixture of two experts, each of which takes half of the rows."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 16, 16))

    def forward(self, inputs):
        return functional.grouped_mm(inputs.float(), self.weight, offs=torch.tensor([4, 8], dtype=torch.int32))


class Doubtful(nn.Module):
    """A linear layer whose output is multiplied once more, outside autocast."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, inputs):
        with torch.autocast("cpu", enabled=False):
            return self.inner(inputs.float()) @ torch.ones(16, 16)


def watched(model, *inputs, precision=torch.bfloat16):
    with MultiplicationWatch(model if isinstance(model, nn.Module) else NOTHING) as watch:
        with torch.autocast("cpu", dtype=precision, enabled=precision is not torch.float32):
            outputs = model(*inputs)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        outputs.float().square().sum().backward()
    return watch


def places(watch):
    return {(one.module_class, one.module, one.operator, one.dtype) for one in watch.places()}


def test_experts_that_autocast_does_not_lower_are_named_though_the_linear_layers_look_right():
    watch = watched(nn.Sequential(nn.Linear(16, 16), Experts(), nn.Linear(16, 16)), torch.randn(8, 16))
    assert ("Experts", "1", "aten::_grouped_mm", "float32") in places(watch)
    assert ("Linear", "0", "aten::addmm", "bfloat16") in places(watch)
    flops = watch.flops_by_dtype()
    one_layer = 2 * 8 * 16 * 16
    assert flops == {"bfloat16": 5 * one_layer, "float32": 3 * one_layer}  # the first layer's input needs no gradient


def test_the_innermost_module_is_named_by_its_place_in_the_model():
    watch = watched(nn.Sequential(nn.Linear(16, 16), Doubtful()), torch.randn(8, 16))
    assert {where for where in places(watch) if where[-1] == "float32" and where[1]} == {
        ("Linear", "1.inner", "aten::addmm", "float32"),
        ("Doubtful", "1", "aten::mm", "float32"),
    }


OPERATIONS = {
    "convolution": (nn.Conv2d(4, 4, 3), (2, 4, 8, 8)),
    "depthwise convolution": (nn.Conv2d(4, 4, 3, groups=4), (2, 4, 8, 8)),
    "transposed convolution": (nn.ConvTranspose1d(4, 4, 3), (2, 4, 8)),
    "LSTM": (nn.LSTM(4, 8), (5, 2, 4)),
    "GRU": (nn.GRU(4, 8), (5, 2, 4)),
    "attention": (nn.MultiheadAttention(16, 2), (5, 2, 16)),
    "bilinear einsum": (nn.Linear(16, 4), (2, 16)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_kind_of_operation_counts_forward_and_backward_in_fp32(name):
    layer, shape = OPERATIONS[name]
    inputs = torch.randn(shape)
    watch = watched(layer, *[inputs] * (3 if name == "attention" else 1), precision=torch.float32)
    assert set(watch.flops_by_dtype()) == {"float32"}
    with MultiplicationWatch(layer) as forward, torch.no_grad():
        layer(*[inputs] * (3 if name == "attention" else 1))
    assert sum(watch.flops_by_dtype().values()) >= 2 * sum(forward.flops_by_dtype().values()) > 0


def test_fused_attention_counts_both_products_and_five_backward():
    query = torch.randn(2, 4, 8, 16, requires_grad=True)
    with MultiplicationWatch(NOTHING) as watch:
        functional.scaled_dot_product_attention(query, query, query).sum().backward()
    assert watch.flops_by_dtype() == {"float32": 7 * 2 * (2 * 4) * 8 * 8 * 16}


def test_attention_with_fewer_keys_than_queries_counts():
    query, key = torch.randn(2, 4, 8, 16), torch.randn(2, 2, 8, 16)
    with MultiplicationWatch(NOTHING) as watch:
        functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    assert watch.flops_by_dtype() == {"float32": 2 * 2 * (2 * 4) * 8 * 8 * 16}


def test_operations_of_a_backward_pass_belong_to_no_module():
    watch = watched(nn.Linear(16, 16), torch.randn(8, 16))
    assert ("backward pass", "", "aten::mm", "bfloat16") in places(watch)


def test_a_module_that_fails_leaves_no_hook_and_no_mode_behind():
    class Failing(nn.Module):
        def forward(self, inputs):
            raise ValueError

    model = nn.Sequential(nn.Linear(16, 16), Failing())
    watch = MultiplicationWatch(model)
    with pytest.raises(ValueError), watch:
        model(torch.randn(8, 16))
    before = watch.flops_by_dtype()
    model[0](torch.randn(8, 16))
    assert watch.flops_by_dtype() == before == {"float32": 2 * 8 * 16 * 16}


class Recomputing(torch.autograd.Function):
    """Runs a module without keeping its graph, and once more in the backward pass, as reversible models do."""

    @staticmethod
    def forward(context, inputs, module):
        context.save_for_backward(inputs)
        context.module = module
        return module(inputs).float()

    @staticmethod
    def backward(context, gradient):
        inputs = context.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            context.module(inputs).backward(gradient)
        return inputs.grad, None


def test_a_module_that_runs_again_in_the_backward_pass_is_seen_by_its_operations_alone():
    """Autocast is off by then; the dtypes of the forward pass stay what they were."""
    layer = nn.Linear(16, 16)
    with DtypeWatch(layer) as dtypes:
        watch = watched(lambda inputs: Recomputing.apply(inputs, layer), torch.randn(8, 16, requires_grad=True))
    assert dtypes.seen() == {"Linear": ["bfloat16"]}
    assert watch.flops_by_dtype() == {"float32": 3 * 2 * 8 * 16 * 16, "bfloat16": 2 * 8 * 16 * 16}


def test_a_linear_layer_is_seen_to_multiply_in_the_three_layouts_of_the_ceiling():
    layer = nn.Linear(64, 64, bias=False)
    inputs = torch.randn(64, 64, requires_grad=True)
    with MultiplicationWatch(NOTHING) as watch:
        layer(inputs).square().sum().backward()
    assert set(watch.products()[torch.float32]) == set(square_products(64))


def test_products_are_told_apart_by_dtype_and_the_largest_come_first():
    with MultiplicationWatch(NOTHING) as watch:
        torch.randn(4, 4) @ torch.randn(4, 4)
        torch.randn(8, 4) @ torch.randn(4, 8)
        torch.randn(4, 4).bfloat16() @ torch.randn(4, 4).bfloat16()
    seen = watch.products()
    assert [product.rows for product in seen[torch.float32]] == [8, 4]
    assert seen[torch.bfloat16] == [Product(4, 4, 4)]
