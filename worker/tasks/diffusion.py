"""Denoising diffusion: predicting the noise in a noised image (Ho et al. 2020, "Denoising Diffusion Probabilistic
Models")."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.plugin import LOSS, Batch, Metric, Source, TrainingTask
from worker.data.source import seeded
from worker.data.synthetic.noised_images import LEVELS, TIMESTEPS, NoisedImageSource


def _metric(name: str, title: str) -> Metric:
    """A mean squared error: 1 for a model that has learned nothing and predicts no noise, whose variance is 1."""
    return Metric(name, "lower", title, chance=1.0)


@dataclass(frozen=True)
class Diffusion(TrainingTask):
    """The mean squared error of the predicted noise ("L_simple", section 3.4 there).

    A batch is a dict of `images` and `noise` (samples, channels, size, size), `signal_rate` and `noise_rate`
    (samples, 1, 1, 1), `timesteps` and `classes` (samples,), int64. The model gets
    `signal_rate` · `images` + `noise_rate` · `noise`, the timesteps and the classes.
    """

    channels: int
    image_size: int
    num_classes: int

    reported = (
        _metric("loss", LOSS.title or ""),
        *(_metric(f"loss_at_{level}_noise", f"validation loss at {level} noise") for level in LEVELS),
    )
    #: Holds out 256 images: the pixels of one are not independent predictions, and each image costs a forward pass.
    predictions_per_sample = 16

    @override
    def loss(self, model: Callable[..., Any], batch: Batch) -> Tensor:
        return functional.mse_loss(_predicted_noise(model, batch), batch["noise"])

    @override
    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, tuple[Tensor, Tensor | int]]:
        errors = (_predicted_noise(model, batch) - batch["noise"]).square().mean(dim=(1, 2, 3))
        levels = batch["timesteps"] * len(LEVELS) // TIMESTEPS
        found: dict[str, tuple[Tensor, Tensor | int]] = {"loss": (errors.sum(), len(errors))}
        for place, level in enumerate(LEVELS):
            chosen = levels == place
            found[f"loss_at_{level}_noise"] = ((errors * chosen).sum(), chosen.sum())
        return found

    @override
    def source(self, seed: int) -> Source:
        return NoisedImageSource(self.channels, self.image_size, self.num_classes, seeded("task", seed))


def _predicted_noise(model: Callable[..., Any], batch: Batch) -> Tensor:
    noised = batch["signal_rate"] * batch["images"] + batch["noise_rate"] * batch["noise"]
    noise: Tensor = model(noised, batch["timesteps"], batch["classes"])
    return noise
