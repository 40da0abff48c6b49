"""A Diffusion Transformer that removes noise from images."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.strict import Input

#: Width of the sinusoids that represent a timestep, as in the published models.
TIMESTEP_WIDTH = 256

#: Width of the feed-forward layer, in multiples of `hidden_size`.
FEED_FORWARD_RATIO = 4

#: Sines and cosines of a patch's row and column share the hidden width.
WIDTH_MULTIPLE = 4


class DitSpec(Input):
    """A Diffusion Transformer (DiT) that predicts the noise in an image from the image, the timestep and the class.

    Patches are tokens; every block is scaled, shifted and gated by the timestep and the class (adaLN-Zero; Peebles &
    Xie 2023, "Scalable Diffusion Models with Transformers"). The defaults are those of DiT-S/2 for latent images.
    """

    kind: Literal["dit"] = "dit"
    image_size: int = Field(default=32, ge=1, le=512, description="height and width in pixels")
    channels: int = Field(default=4, ge=1, le=16, description="channels of an image")
    patch_size: int = Field(default=2, ge=1, le=512, description="height and width of a patch; must divide image_size")
    hidden_size: int = Field(default=384, ge=4, le=65_536, description="width of the residual stream; a multiple of 4")
    num_layers: int = Field(default=12, ge=1, le=512, description="transformer blocks")
    num_heads: int = Field(default=6, ge=1, le=1024, description="attention heads; must divide hidden_size")
    num_classes: int = Field(default=1000, ge=1, le=100_000, description="number of classes")

    @model_validator(mode="after")
    def _sizes_divide(self) -> Self:
        divisions = (
            ("patch_size", self.patch_size, "image_size", self.image_size),
            ("num_heads", self.num_heads, "hidden_size", self.hidden_size),
        )
        for part, parts, whole, size in divisions:
            if size % parts:
                reason = {"part": part, "parts": parts, "whole": whole, "size": size}
                raise PydanticCustomError("does_not_divide", "{part} ({parts}) must divide {whole} ({size})", reason)
        if self.hidden_size % WIDTH_MULTIPLE:
            raise PydanticCustomError("width_not_a_multiple", "hidden_size must be a multiple of 4")
        return self

    @property
    def patches(self) -> int:
        """Patches in a row or column of an image."""
        return self.image_size // self.patch_size

    @property
    def patch_width(self) -> int:
        """Numbers in a patch."""
        return self.channels * self.patch_size**2

    def parameter_count(self) -> int:
        """Counts weights and biases of the module that `worker/models/dit.py` builds; positions are fixed."""
        width = self.hidden_size
        biases = {
            "patches and output": width + self.patch_width,
            "timestep": 2 * width,
            "blocks": self.num_layers * (6 + 4 + FEED_FORWARD_RATIO + 1) * width,
            "last modulation": 2 * width,
        }
        classes = self.num_classes * width
        return self._weights_per_token() + self._weights_per_sample() + sum(biases.values()) + classes

    def training_flops_per_sample(self) -> int:
        """Counts 6 FLOP per weight of a matrix product, and 12 x layers x width x tokens per token for attention.

        Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1; Chowdhery et al. 2022,
        "PaLM", appendix B.
        """
        tokens = self.patches**2
        attention = 12 * self.num_layers * self.hidden_size * tokens
        return (6 * self._weights_per_token() + attention) * tokens + 6 * self._weights_per_sample()

    def _weights_per_token(self) -> int:
        """Weights that multiply every patch: patch embedding, attention, feed-forward layers and output."""
        width = self.hidden_size
        return 2 * self.patch_width * width + self.num_layers * (4 + 2 * FEED_FORWARD_RATIO) * width**2

    def _weights_per_sample(self) -> int:
        """Weights that multiply the condition of a sample: those of the timestep, and of every modulation."""
        width = self.hidden_size
        return (TIMESTEP_WIDTH + width) * width + (6 * self.num_layers + 2) * width**2
