"""Builds a U-Net of the `diffusers` library, with random weights and without downloads."""

import copy
import difflib
import functools
import importlib
import inspect
import os
from functools import partial
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from halftime.contract.models import DiffusersSpec
from halftime.contract.report.failure import FailureCode
from halftime.plugin import Blueprint
from worker.errors import TrialFailed
from worker.plugins import plugin_errors
from worker.tasks.diffusion import Diffusion


def diffusers_blueprint(spec: DiffusersSpec) -> Blueprint:
    """Returns the blueprint of a spec. Raises TrialFailed (`invalid_model`) naming the setting that is not accepted."""
    _check_settings(spec.config)
    return Blueprint(Diffusion(spec.channels, spec.image_size, spec.num_classes), partial(Unet, spec))


class Unet(nn.Module):
    """Noised images (batch, channels, size, size), timesteps and classes (batch,) → the noise in the images."""

    def __init__(self, spec: DiffusersSpec) -> None:
        super().__init__()
        with _library_errors():
            self.model: nn.Module = _unet_class()(
                **copy.deepcopy(spec.config),
                sample_size=spec.image_size,
                in_channels=spec.channels,
                out_channels=spec.channels,
                num_class_embeds=spec.num_classes,
            )

    @override
    def forward(self, noised: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """Returns the predicted noise, of the shape of the images."""
        (noise,) = self.model(noised, timesteps, class_labels=classes, return_dict=False)
        assert isinstance(noise, Tensor)
        return noise


@functools.cache
def _unet_class() -> Any:  # noqa: ANN401 # a class imported only on demand: it takes seconds
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    try:
        library = importlib.import_module("diffusers")
    except ModuleNotFoundError as error:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL,
            "The kind diffusers needs the diffusers library on the worker: pip install 'halftime[diffusers]'.",
        ) from error
    library.logging.set_verbosity_error()
    return library.UNet2DModel


def _check_settings(settings: dict[str, Any]) -> None:
    known = inspect.signature(_unet_class()).parameters
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise TrialFailed.because(
                FailureCode.INVALID_MODEL, f"config.{name}: UNet2DModel has no such setting.{hint}"
            )


_library_errors = partial(plugin_errors, "The diffusers library rejected this model", FailureCode.INVALID_MODEL)
