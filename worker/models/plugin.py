"""Builds a model from the plugin of an installed package."""

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
from worker.plugins import load, plugin_errors

GROUP = "halftime.models"


def plugin_blueprint(spec: PluginSpec) -> Blueprint:
    """Calls the entry point with its arguments. Raises TrialFailed (`invalid_model`) that quotes the plugin's error."""
    make = load(GROUP, spec.name, FailureCode.INVALID_MODEL)
    with plugin_errors(f"The model plugin {spec.name!r} rejected its arguments", FailureCode.INVALID_MODEL):
        blueprint = make(**spec.arguments)  # type: ignore[operator] # a TypeError is handled like any other error
    shape, build = getattr(blueprint, "shape", None), getattr(blueprint, "build", None)
    if not isinstance(shape, get_args(DataShape)) or not callable(build):
        raise _invalid(spec, "must return a halftime.plugin.Blueprint: a `shape` and a function `build`")
    return Blueprint(shape, partial(_build, spec, build))


def check_logits(spec: PluginSpec, model: nn.Module, shape: DataShape) -> None:
    """Checks the output shape of a model on the meta device. Raises TrialFailed (`invalid_model`)."""
    layout = layout_of(shape)
    dtype = torch.float32 if layout.vocab_size is None else torch.int64
    expected = (2, *layout.target_shape, layout.num_classes)
    with plugin_errors(f"The model of plugin {spec.name!r} failed on samples of its shape", FailureCode.INVALID_MODEL):
        try:
            with torch.device("meta"):
                logits = model(torch.zeros(2, *layout.input_shape, dtype=dtype))
        except (RuntimeError, NotImplementedError) as error:
            if "meta" in str(error):  # it reads values, which the meta device has not: training will show errors
                return
            raise
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        actual = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise _invalid(spec, f"must return logits of the shape {expected} for two samples, not {actual}")


def _build(spec: PluginSpec, build: Callable[[], object]) -> nn.Module:
    with plugin_errors(f"The model plugin {spec.name!r} could not build its model", FailureCode.INVALID_MODEL):
        model = build()
    if not isinstance(model, nn.Module) or not any(True for _ in model.parameters()):
        raise _invalid(spec, "must build a torch module with parameters")
    return model


def _invalid(spec: PluginSpec, why: str) -> TrialFailed:
    return TrialFailed.because(FailureCode.INVALID_MODEL, f"The model plugin {spec.name!r} {why}.")
