"""Models whose step spends its time on something known."""

import time

import torch
from torch import nn

SIZE = 64


class Elementwise(nn.Module):
    """Reads and writes large tensors and multiplies almost nothing."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 8192))
        self.head = nn.Linear(SIZE, 4)

    def forward(self, inputs):
        wide = inputs.repeat(1, 8192 // SIZE)
        for _ in range(12):
            wide = torch.addcmul(wide, wide, self.scale, value=0.01)
        return self.head(wide[:, :SIZE])


class Delayed(nn.Module):
    """The host sleeps."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(SIZE, 4)

    def forward(self, inputs):
        time.sleep(0.05)
        return self.head(inputs)


class Casting(nn.Module):
    """Casts a large tensor after every small layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in range(4))
        self.head = nn.Linear(SIZE, 4)

    def forward(self, inputs):
        wide = inputs.repeat(512, 1)
        for layer in self.layers:
            inputs = layer(inputs)
            wide = wide.to(torch.float64).to(torch.float32)
        return self.head(inputs + wide[: len(inputs)] * 1e-3)


class Tiny(nn.Module):
    """Hundreds of operations on a few numbers."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(SIZE, 4)

    def forward(self, inputs):
        outputs = self.head(inputs[:, :SIZE])
        for _ in range(200):
            outputs = outputs * 0.99
        return outputs


def products():
    """A network of large matrix products."""
    return nn.Sequential(*(nn.Linear(768, 768, bias=False) for _ in range(4)), nn.Linear(768, 4, bias=False))
