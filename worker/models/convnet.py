"""A pre-activation residual network (He et al. 2016, "Identity Mappings in Deep Residual Networks")."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from halftime.contract.models import ConvnetSpec


class ResidualBlock(nn.Module):
    """Twice norm, ReLU and 3 x 3 convolution, plus a shortcut, which is a 1 x 1 convolution if the shape changes."""

    def __init__(self, incoming: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(incoming)
        self.conv1 = nn.Conv2d(incoming, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same_shape = stride == 1 and incoming == width
        self.shortcut = nn.Identity() if same_shape else nn.Conv2d(incoming, width, 1, stride, bias=False)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """(batch, incoming, height, width) → (batch, width, height / stride, width / stride)."""
        hidden = self.conv1(torch.relu(self.norm1(images)))
        hidden = self.conv2(torch.relu(self.norm2(hidden)))
        result: Tensor = hidden + self.shortcut(images)
        return result


class Convnet(nn.Module):
    """(batch, in_channels, image_size, image_size) → (batch, num_classes)."""

    def __init__(self, spec: ConvnetSpec) -> None:
        super().__init__()
        self.stem = nn.Conv2d(spec.in_channels, spec.widths[0], 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        incoming = spec.widths[0]
        for stage, width in enumerate(spec.widths):
            for index in range(spec.blocks_per_stage):
                blocks.append(ResidualBlock(incoming, width, stride=2 if stage > 0 and index == 0 else 1))
                incoming = width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(incoming)
        self.classifier = nn.Linear(incoming, spec.num_classes)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits of every class."""
        hidden = torch.relu(self.norm(self.blocks(self.stem(images))))
        logits: Tensor = self.classifier(hidden.mean(dim=(2, 3)))
        return logits
