"""Synthetic diffusion: noised images of a Gaussian mixture, whose best denoiser is known."""

import torch
from torch import Tensor
from torch.nn import functional

from halftime.plugin import Part

#: Steps of the diffusion, and its variances at the first and the last (Ho et al. 2020, section 4).
TIMESTEPS = 1000
FIRST_VARIANCE, LAST_VARIANCE = 1e-4, 0.02

#: Levels of noise that metrics tell apart: equal parts of the timesteps.
LEVELS = ("low", "medium", "high")

#: Side of the coarse pattern that is interpolated to a template, whose standard deviation is 1.
PATTERN = 4

#: Most templates; classes share them if there are more.
MAX_TEMPLATES = 64

#: Standard deviation of an image's pixels around its class's template.
SPREAD = 0.3


def signal_shares() -> Tensor:
    """(timesteps,), FP64: the share of the signal in the variance, ᾱ, with variances that rise linearly."""
    variances = torch.linspace(FIRST_VARIANCE, LAST_VARIANCE, TIMESTEPS, dtype=torch.float64)
    return (1 - variances).cumprod(dim=0)


class NoisedImageSource:
    """An image is its class's template with Gaussian pixels around it; it is noised to a uniformly drawn timestep.

    Given class and timestep, a pixel of the noised image is x = √ᾱ (m + s·g) + √(1 - ᾱ)·ε with the template m, the
    spread s, and standard normal g and ε, so that x and ε are jointly Gaussian. The best model predicts the noise's
    conditional mean, and its mean squared error is the conditional variance (Bishop 2006, "Pattern Recognition and
    Machine Learning", section 2.3.1): 1 - (1 - ᾱ) / (ᾱ s² + 1 - ᾱ) = ᾱ s² / (ᾱ s² + 1 - ᾱ), averaged over timesteps.
    """

    best_possible_loss: float | None
    best_possible_accuracy: float | None = None

    def __init__(self, channels: int, image_size: int, num_classes: int, generator: torch.Generator) -> None:
        self.num_classes = num_classes
        self.sample_bytes = 2 * 4 * channels * image_size**2 + 2 * 4 + 2 * 8
        coarse = torch.randn(min(num_classes, MAX_TEMPLATES), channels, PATTERN, PATTERN, generator=generator)
        templates = functional.interpolate(coarse, size=image_size, mode="bilinear", align_corners=False)
        self.templates = templates / templates.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        self.signal_shares = signal_shares()
        of_image = self.signal_shares * SPREAD**2
        errors = of_image / (of_image + 1 - self.signal_shares)
        self.best_possible_loss = float(errors.mean())
        parts = errors.tensor_split(len(LEVELS))
        self.best_possible = {
            f"loss_at_{level}_noise": float(part.mean()) for level, part in zip(LEVELS, parts, strict=True)
        }

    def sample(self, part: Part, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Draws a batch of `worker/tasks/diffusion.py`."""
        classes = torch.randint(self.num_classes, (count,), generator=generator)
        templates = self.templates[classes % len(self.templates)]
        timesteps = _spread_evenly(count, generator)
        shares = self.signal_shares[timesteps][:, None, None, None]
        return {
            "images": templates + SPREAD * torch.randn(templates.shape, generator=generator),
            "noise": torch.randn(templates.shape, generator=generator),
            "signal_rate": shares.sqrt().float(),
            "noise_rate": (1 - shares).sqrt().float(),
            "timesteps": timesteps,
            "classes": classes,
        }


def _spread_evenly(count: int, generator: torch.Generator) -> Tensor:
    """(count,): uniform timesteps, one from each of `count` equal parts, which a mean over few images needs.

    Source: Kingma et al. 2021, "Variational Diffusion Models", appendix I.1.
    """
    shared = torch.rand(1, generator=generator, dtype=torch.float64)
    places = (shared + torch.randperm(count, generator=generator) / count) % 1
    return (places * TIMESTEPS).long()
