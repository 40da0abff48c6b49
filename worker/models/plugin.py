"""A model from an installed package."""

from collections.abc import Callable
from functools import partial
from typing import get_args

import torch
from torch import Tensor, nn

from halftime.contract.models import PluginSpec
from halftime.contract.report.failure import FailureCode
from halftime.plugin import Blueprint, DataShape
from worker.data.layout import layout_of
from worker.errors import TrialFailed
from worker.plugins import blamed, load

GROUP = "halftime.models"


def plugin_blueprint(spec: PluginSpec) -> Blueprint:
    """What the entry point makes of its arguments. Raises TrialFailed (`invalid_model`), which quotes the plugin."""
    make = load(GROUP, spec.name, FailureCode.INVALID_MODEL)
    with blamed(f"The model plugin {spec.name!r} refused its arguments", FailureCode.INVALID_MODEL):
        described = make(**spec.arguments)  # type: ignore[operator] # what cannot be called is told like all else
    shape, build = getattr(described, "shape", None), getattr(described, "build", None)
    if not isinstance(shape, get_args(DataShape)) or not callable(build):
        raise _invalid(spec, "must return an object with `shape`, one of worker.data.shapes, and a method `build`")
    return Blueprint(shape, partial(_build, spec, build))


def check_logits(spec: PluginSpec, model: nn.Module, shape: DataShape) -> None:
    """Whether a model on the meta device puts out what its shape promises. Raises TrialFailed (`invalid_model`)."""
    layout = layout_of(shape)
    dtype = torch.float32 if layout.vocab_size is None else torch.int64
    wanted = (2, *layout.target_shape, layout.num_classes)
    with blamed(f"The model of plugin {spec.name!r} fails on samples of its shape", FailureCode.INVALID_MODEL):
        try:
            with torch.device("meta"):
                logits = model(torch.zeros(2, *layout.input_shape, dtype=dtype))
        except (RuntimeError, NotImplementedError) as error:
            if "meta" in str(error):  # it asks for values, which there are none of: training will tell
                return
            raise
    if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
        seen = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise _invalid(spec, f"promises logits of the shape {wanted} for two samples, and puts out {seen}")


def _build(spec: PluginSpec, build: Callable[[], object]) -> nn.Module:
    with blamed(f"The model plugin {spec.name!r} could not build its model", FailureCode.INVALID_MODEL):
        model = build()
    if not isinstance(model, nn.Module) or not any(True for _ in model.parameters()):
        raise _invalid(spec, "must build a torch module with parameters")
    return model


def _invalid(spec: PluginSpec, why: str) -> TrialFailed:
    return TrialFailed.because(FailureCode.INVALID_MODEL, f"The model plugin {spec.name!r} {why}.")
