"""A Diffusion Transformer (Peebles & Xie 2023, "Scalable Diffusion Models with Transformers")."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.contract.models import DitSpec
from halftime.contract.models.dit import FEED_FORWARD_RATIO, TIMESTEP_WIDTH
from halftime.contract.models.layers import sequence
from worker.data.synthetic.noised_images import TIMESTEPS
from worker.models.layers import SelfAttention

#: Standard deviation of the initial weights that represent timestep and class, as in the published models.
INITIAL_STD = 0.02

#: Longest wavelength of the sinusoids is 2π times this (Vaswani et al. 2017, section 3.5).
LONGEST = 10_000


def sinusoids(count: int, width: int) -> Tensor:
    """(count, width): cosines and sines that represent the numbers from 0 on; `width` is even."""
    frequencies = LONGEST ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = torch.arange(count, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def patch_positions(patches: int, width: int) -> Tensor:
    """(patches², width): sinusoids of a patch's row and of its column."""
    line = sinusoids(patches, width // 2)
    rows, columns = line.repeat_interleave(patches, dim=0), line.repeat(patches, 1)
    return torch.cat([rows, columns], dim=1)


def modulate(hidden: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scales and shifts every token of a sample alike."""
    return hidden * (1 + scale[:, None]) + shift[:, None]


class Modulation(nn.Module):
    """Condition (batch, width) → `parts` vectors of the same shape."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, parts * width)
        self._parts = parts

    @override
    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """Returns the vectors."""
        vectors: Tensor = self.linear(functional.silu(condition))
        return vectors.chunk(self._parts, dim=1)


class Condition(nn.Module):
    """Timesteps and classes, both (batch,) → the sum of their representations (batch, width)."""

    timesteps: Tensor

    def __init__(self, spec: DitSpec) -> None:
        super().__init__()
        # A table, because sines of large angles depend on the precision of the angle.
        self.register_buffer("timesteps", sinusoids(TIMESTEPS, TIMESTEP_WIDTH), persistent=False)
        self.timestep = nn.Sequential(
            nn.Linear(TIMESTEP_WIDTH, spec.hidden_size), nn.SiLU(), nn.Linear(spec.hidden_size, spec.hidden_size)
        )
        self.classes = nn.Embedding(spec.num_classes, spec.hidden_size)

    @override
    def forward(self, timesteps: Tensor, classes: Tensor) -> Tensor:
        """Returns the sum."""
        condition: Tensor = self.timestep(self.timesteps[timesteps]) + self.classes(classes)
        return condition


class Block(nn.Module):
    """Self-attention and a feed-forward layer, whose inputs and outputs the condition modulates."""

    def __init__(self, spec: DitSpec) -> None:
        super().__init__()
        width = spec.hidden_size
        self.attention_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention = SelfAttention(width, sequence.SelfAttention(num_heads=spec.num_heads))
        self.feed_forward_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, FEED_FORWARD_RATIO * width), nn.GELU("tanh"), nn.Linear(FEED_FORWARD_RATIO * width, width)
        )
        self.modulation = Modulation(width, 6)

    @override
    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(batch, tokens, width) and (batch, width) → (batch, tokens, width)."""
        shift, scale, gate, shift_after, scale_after, gate_after = self.modulation(condition)
        attended = self.attention(modulate(self.attention_norm(hidden), shift, scale))
        hidden = hidden + gate[:, None] * attended
        fed = self.feed_forward(modulate(self.feed_forward_norm(hidden), shift_after, scale_after))
        result: Tensor = hidden + gate_after[:, None] * fed
        return result


class Dit(nn.Module):
    """Noised images (batch, channels, size, size), timesteps and classes (batch,) → the noise in the images."""

    positions: Tensor

    def __init__(self, spec: DitSpec) -> None:
        super().__init__()
        width = spec.hidden_size
        self.patches = nn.Conv2d(spec.channels, width, spec.patch_size, stride=spec.patch_size)
        self.register_buffer("positions", patch_positions(spec.patches, width), persistent=False)
        self.condition = Condition(spec)
        self.blocks = nn.ModuleList(Block(spec) for _ in range(spec.num_layers))
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = Modulation(width, 2)
        self.output = nn.Linear(width, spec.patch_width)
        self._shape = (spec.patches, spec.patches)
        self._patch_size = spec.patch_size
        self.apply(_initialise)

    @override
    def forward(self, noised: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """Returns the predicted noise, of the shape of the images."""
        hidden = self.patches(noised).flatten(2).transpose(1, 2) + self.positions
        condition = self.condition(timesteps, classes)
        for block in self.blocks:
            hidden = block(hidden, condition)
        patches = self.output(modulate(self.norm(hidden), *self.modulation(condition)))
        return functional.pixel_shuffle(patches.transpose(1, 2).unflatten(2, self._shape), self._patch_size)


def _initialise(module: nn.Module) -> None:
    """Starts every block as the identity and the prediction as zero: the "Zero" of adaLN-Zero.

    Called for the parts of a module before the module.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    if isinstance(module, Modulation):
        nn.init.zeros_(module.linear.weight)
    if isinstance(module, Condition):
        for weight in (module.classes.weight, *(value for value in module.timestep.parameters() if value.dim() == 2)):
            nn.init.normal_(weight, std=INITIAL_STD)
    if isinstance(module, Dit):
        nn.init.xavier_uniform_(module.patches.weight.flatten(1))
        nn.init.zeros_(module.output.weight)
