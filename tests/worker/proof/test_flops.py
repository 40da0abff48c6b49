"""The least work of convolutions against counts by hand, forward and backward."""

import pytest
import torch
from torch import nn

from worker.proof.multiplications import MultiplicationWatch

SAMPLES, SIDE = 2, 8
PIXELS = SAMPLES * SIDE * SIDE

#: A layer that keeps the size of its images, its input's channels, the multiplications of its forward pass per pixel,
#: and the share of them that the fastest algorithm needs.
LAYERS = {
    "1 x 1": (nn.Conv2d(16, 32, 1), 16 * 32, 1),
    "1 x 1 in groups": (nn.Conv2d(16, 32, 1, groups=4), 4 * 32, 1),
    "3 x 3": (nn.Conv2d(16, 32, 3, padding=1), 16 * 32 * 9, 1 / 4),
    "depthwise": (nn.Conv2d(16, 16, 3, padding=1, groups=16), 16 * 9, 1 / 4),
    "depthwise with a multiplier": (nn.Conv2d(16, 32, 3, padding=1, groups=16), 32 * 9, 1 / 4),
    "in groups": (nn.Conv2d(16, 32, 3, padding=1, groups=4), 4 * 32 * 9, 1 / 4),
    "transposed": (nn.ConvTranspose2d(16, 32, 3, padding=1), 16 * 32 * 9, 1 / 4),
    "transposed in groups": (nn.ConvTranspose2d(16, 32, 3, padding=1, groups=4), 16 * 8 * 9, 1 / 4),
    "7 x 7": (nn.Conv2d(16, 32, 7, padding=3), 16 * 32 * 49, 0),
    "7 x 7 depthwise": (nn.Conv2d(16, 16, 7, padding=3, groups=16), 16 * 49, 0),
}


def counted(layer, inputs):
    model = layer if isinstance(layer, nn.Module) else nn.Identity()
    with MultiplicationWatch(model) as forward:
        outputs = layer(inputs)
    with MultiplicationWatch(model) as backward:
        outputs.sum().backward()
    return forward.least_flops(), backward.least_flops()


@pytest.mark.parametrize("name", LAYERS)
def test_a_convolution_counts_as_by_hand_and_each_gradient_as_much_again(name):
    layer, multiplications, share = LAYERS[name]
    expected = 2 * PIXELS * multiplications * share
    images = torch.randn(SAMPLES, 16, SIDE, SIDE, requires_grad=True)
    assert counted(layer, images) == (expected, 2 * expected)


def test_a_first_layer_needs_no_gradient_of_its_input():
    layer, multiplications, share = LAYERS["3 x 3"]
    expected = 2 * PIXELS * multiplications * share
    assert counted(layer, torch.randn(SAMPLES, 16, SIDE, SIDE)) == (expected, expected)


@pytest.mark.parametrize(
    ("layer", "inputs", "expected"),
    [
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), (1, 4, 8, 8), 2 * 16 * 4 * 8 * 9 / 4),
        (nn.ConvTranspose2d(4, 8, 2, stride=2), (1, 4, 8, 8), 2 * 64 * 4 * 8 * 4 / 4),
        (nn.Conv1d(4, 8, 3, padding=1), (1, 4, 16), 2 * 16 * 4 * 8 * 3 / 4),
        (nn.Conv3d(4, 8, 3, padding=1), (1, 4, 4, 4, 4), 2 * 64 * 4 * 8 * 27 / 8),
        (nn.Conv2d(4, 8, (1, 7), padding=(0, 3)), (1, 4, 8, 8), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_strides_and_other_dimensions_count_as_by_hand(layer, inputs, expected):
    assert counted(layer, torch.randn(inputs))[0] == expected


def test_products_count_in_full_and_attention_does_not():
    query = torch.randn(1, 2, 16, 8, requires_grad=True)
    with MultiplicationWatch(nn.Identity()) as products:
        torch.randn(4, 8) @ torch.randn(8, 16)
    assert products.least_flops() == 2 * 4 * 8 * 16
    assert counted(lambda one: nn.functional.scaled_dot_product_attention(one, one, one), query) == (0, 0)


def test_grouped_products_count_up_to_the_end_of_the_last_group():
    """A kernel leaves out the rows beyond it, so counting them would be no lower bound."""
    rows, experts = torch.randn(8, 16, requires_grad=True), torch.randn(2, 16, 32, requires_grad=True)
    ends = torch.tensor([3, 6], dtype=torch.int32)
    forward = 2 * 6 * 16 * 32

    def multiplied(inputs):
        return nn.functional.grouped_mm(inputs, experts, offs=ends)[:6].square()

    assert counted(multiplied, rows) == (forward, 2 * forward)


@pytest.mark.parametrize("is_frozen", [False, True])
def test_recurrent_layers_count_every_position_and_backward_at_least_as_much(is_frozen):
    layer = nn.LSTM(8, 16)
    layer.requires_grad_(not is_frozen)
    forward, backward = counted(lambda inputs: layer(inputs)[0], torch.randn(5, 3, 8, requires_grad=True))
    every_position = 2 * 5 * 3 * (4 * 16 * 8 + 4 * 16 * 16)
    assert forward == every_position
    assert backward >= every_position
