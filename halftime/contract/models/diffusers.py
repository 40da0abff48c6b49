"""A U-Net of the `diffusers` library, with random weights."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, ValidationInfo

from halftime.contract.models.overrides import Overrides, check_overrides, refusal
from halftime.contract.strict import Input

#: Settings that Halftime sets itself, and the field to use instead.
SET_FROM_FIELDS = {
    "sample_size": "image_size",
    "in_channels": "channels",
    "out_channels": "channels",
    "num_class_embeds": "num_classes",
    "class_embed_type": "num_classes",
}


def _check_config(config: Overrides, info: ValidationInfo) -> Overrides:
    check_overrides(config, info)
    faults = [
        refusal((name,), f"is set by Halftime; use the field `{field}`")
        for name, field in SET_FROM_FIELDS.items()
        if name in config
    ]
    if faults:
        raise ValidationError.from_exception_data("config", faults)
    return config


class DiffusersSpec(Input):
    """The `UNet2DModel` of diffusers, which predicts the noise in an image from the image, the timestep and the class.

    Weights are random and nothing is downloaded. The worker needs the library: `pip install 'halftime[diffusers]'`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "diffusers",
                    "config": {
                        "block_out_channels": [64, 128],
                        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
                        "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
                    },
                }
            ]
        }
    )

    kind: Literal["diffusers"] = "diffusers"
    config: Annotated[Overrides, AfterValidator(_check_config)] = Field(
        default={}, description="settings of `UNet2DModel`; others have the library's defaults"
    )
    image_size: int = Field(default=32, ge=1, le=512, description="height and width in pixels")
    channels: int = Field(default=3, ge=1, le=16, description="channels of an image")
    num_classes: int = Field(default=10, ge=1, le=100_000, description="number of classes")

    def parameter_count(self) -> None:
        """Returns None: only the library knows it, and the worker counts the parameters."""

    def training_flops_per_sample(self) -> None:
        """Returns None: only the library knows it."""
