"""A residual convolutional network that classifies images."""

from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.strict import Input

Width = Annotated[int, Field(ge=1, le=8192)]


class ConvnetSpec(Input):
    """A 3 x 3 stem, then one stage per width; every stage but the first halves the image.

    A stage is `blocks_per_stage` residual blocks of two 3 x 3 convolutions with batch norm and ReLU
    (He et al. 2016, "Identity Mappings in Deep Residual Networks": pre-activation).
    """

    kind: Literal["convnet"] = "convnet"
    image_size: int = Field(default=32, ge=4, le=1024, description="height and width in pixels")
    in_channels: int = Field(default=3, ge=1, le=64, description="colour channels of an image")
    widths: list[Width] = Field(
        default=[64, 128, 256], min_length=1, max_length=8, description="channels of each stage; each halves the image"
    )
    blocks_per_stage: int = Field(default=2, ge=1, le=128, description="residual blocks in a stage")
    num_classes: int = Field(default=10, ge=2, le=100_000, description="number of classes")
    channels_last: bool = Field(default=False, description="use the NHWC memory layout in every leg")

    def parameter_count(self) -> int:
        """Counts weights, norms and biases of the module that `worker/models/convnet.py` builds."""
        weights, norms = self._convolution_weights(), self._norm_channels()
        classifier = (self.widths[-1] + 1) * self.num_classes
        return sum(count for count, _ in weights) + 2 * norms + classifier

    def training_flops_per_sample(self) -> int:
        """Counts 6 FLOP per weight and output pixel, forward and backward."""
        convolutions = sum(6 * count * pixels for count, pixels in self._convolution_weights())
        return convolutions + 6 * self.widths[-1] * self.num_classes

    def _convolution_weights(self) -> list[tuple[int, int]]:
        """Returns (weights, output pixels) of every convolution."""
        size = self.image_size
        convolutions = [(9 * self.in_channels * self.widths[0], size * size)]
        incoming = self.widths[0]
        for stage, width in enumerate(self.widths):
            size = size if stage == 0 else (size + 1) // 2
            for block in range(self.blocks_per_stage):
                convolutions += [(9 * incoming * width, size * size), (9 * width * width, size * size)]
                if incoming != width or (stage > 0 and block == 0):
                    convolutions.append((incoming * width, size * size))
                incoming = width
        return convolutions

    def _norm_channels(self) -> int:
        """Counts the channels of all batch norms: two norms per block, and one before the classifier."""
        total, incoming = 0, self.widths[0]
        for width in self.widths:
            for _ in range(self.blocks_per_stage):
                total += incoming + width
                incoming = width
        return total + self.widths[-1]
