"""Models and operand sizes: full size for a GPU, small for a dry run on a CPU."""

from dataclasses import dataclass

from halftime.contract.models import ConvnetSpec, LayersSpec, MlpSpec, ModelSpec, TransformerSpec
from halftime.contract.precisions import PrecisionName

#: Rows, inner dimension and columns of a matrix product.
Product = tuple[int, int, int]


@dataclass(frozen=True)
class Convolution:
    """Images (samples, channels, height, width) and filters of a square kernel."""

    images: tuple[int, int, int, int]
    out_channels: int
    kernel: int
    groups: int = 1

    def __str__(self) -> str:
        size = "x".join(map(str, self.images))
        return f"{size} to {self.out_channels}, kernel {self.kernel}, groups {self.groups}"


@dataclass(frozen=True)
class Scale:
    """Models and sizes for one kind of device."""

    precisions: tuple[PrecisionName, ...]
    products: tuple[Product, ...]
    convolutions: tuple[Convolution, ...]
    #: Samples, heads, tokens, width of a head.
    attention: tuple[int, int, int, int]
    #: Tokens, samples, width.
    recurrent: tuple[int, int, int]
    ceilings: int
    models: dict[str, ModelSpec]
    #: Small models for observations of single steps.
    small_models: dict[str, ModelSpec]
    batch_size: int
    steps: int
    depthwise: ModelSpec
    #: A model beyond every device's memory, and its batch size.
    too_large: ModelSpec
    too_large_batch_size: int


def depthwise(channels: int, layers: int, image_size: int) -> LayersSpec:
    """A pointwise convolution, then depthwise ones."""
    one = {"type": "conv2d", "out_channels": channels, "kernel_size": 3, "padding": 1, "groups": channels}
    return LayersSpec.model_validate(
        {
            "kind": "layers",
            "input_shape": [3, image_size, image_size],
            "num_classes": 16,
            "layers": [
                {"type": "conv2d", "out_channels": channels, "kernel_size": 1},
                *[one] * layers,
                {"type": "adaptive_avg_pool2d", "output_size": 1},
                {"type": "flatten"},
                {"type": "linear", "out_features": 16},
            ],
        }
    )


#: Sides of square products; then thin and flat ones, which select other kernels.
SQUARES = (64, 128, 256, 512, 1024, 2048, 4096)
OTHERS: tuple[Product, ...] = ((8, 1024, 1024), (16, 512, 512), (64, 1024, 1024), (1024, 256, 1024), (8192, 256, 512))

SMALL_TRANSFORMER = TransformerSpec(vocab_size=256, hidden_size=256, num_layers=2, num_heads=4, sequence_length=128)
TINY_TRANSFORMER = TransformerSpec(vocab_size=64, hidden_size=32, num_layers=1, num_heads=2, sequence_length=16)
TINY_CONVNET = ConvnetSpec(image_size=16, widths=[8, 16], blocks_per_stage=1)
TINY_MLP = MlpSpec(input_size=16, hidden_size=32, num_layers=2)

FULL = Scale(
    precisions=("fp32", "tf32", "fp16", "bf16", "bf16-true"),
    products=(*((side, side, side) for side in SQUARES), *OTHERS),
    convolutions=(
        Convolution((2, 32, 16, 16), 32, 3),
        Convolution((8, 64, 56, 56), 64, 3),
        Convolution((16, 256, 14, 14), 256, 3),
        Convolution((8, 64, 56, 56), 64, 3, groups=4),
        Convolution((8, 64, 56, 56), 64, 3, groups=64),
        Convolution((8, 256, 28, 28), 512, 1),
        Convolution((8, 3, 64, 64), 64, 7),
    ),
    attention=(2, 4, 256, 64),
    recurrent=(32, 16, 512),
    ceilings=5,
    models={
        "transformer": TransformerSpec(
            vocab_size=8192, hidden_size=1024, num_layers=6, num_heads=16, sequence_length=512
        ),
        "convnet": ConvnetSpec(channels_last=True),
        "mlp": MlpSpec(),
    },
    small_models={"transformer": SMALL_TRANSFORMER, "convnet": ConvnetSpec(), "mlp": MlpSpec()},
    batch_size=16,
    steps=20,
    depthwise=depthwise(channels=512, layers=6, image_size=32),
    # The output of the first layer alone takes 256 GiB; the model itself takes a few kilobytes.
    too_large=depthwise(channels=8192, layers=1, image_size=64),
    too_large_batch_size=2048,
)

DRY = Scale(
    precisions=("fp32", "fp16", "bf16"),
    products=((64, 64, 64), (256, 256, 256), (16, 128, 64)),
    convolutions=(
        Convolution((2, 16, 8, 8), 16, 3),
        Convolution((2, 16, 8, 8), 16, 3, groups=4),
        Convolution((2, 16, 8, 8), 16, 3, groups=16),
        Convolution((2, 16, 8, 8), 32, 1),
        Convolution((2, 3, 16, 16), 16, 7),
    ),
    attention=(1, 2, 32, 16),
    recurrent=(8, 4, 32),
    ceilings=2,
    models={"transformer": TINY_TRANSFORMER, "convnet": TINY_CONVNET, "mlp": TINY_MLP},
    small_models={"transformer": TINY_TRANSFORMER, "convnet": TINY_CONVNET, "mlp": TINY_MLP},
    batch_size=4,
    steps=8,
    depthwise=depthwise(channels=8, layers=2, image_size=8),
    # On a CPU memory is not filled: a model that the machine cannot hold is refused before it is built.
    too_large=MlpSpec(hidden_size=65_536, num_layers=64),
    too_large_batch_size=4,
)


def scale_of(device: str) -> Scale:
    """Scale for a device by its name."""
    return DRY if device == "cpu" else FULL
