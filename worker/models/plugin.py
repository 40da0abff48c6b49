"""A model from an installed package."""

from collections.abc import Callable
from functools import partial
from typing import get_args

from torch import nn

from app.contract.failure import FailureCode
from app.contract.models import PluginSpec
from worker.data.shapes import DataShape
from worker.device import TrialFailed
from worker.models.blueprint import Blueprint
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


def _build(spec: PluginSpec, build: Callable[[], object]) -> nn.Module:
    with blamed(f"The model plugin {spec.name!r} could not build its model", FailureCode.INVALID_MODEL):
        model = build()
    if not isinstance(model, nn.Module) or not any(True for _ in model.parameters()):
        raise _invalid(spec, "must build a torch module with parameters")
    return model


def _invalid(spec: PluginSpec, why: str) -> TrialFailed:
    return TrialFailed.because(FailureCode.INVALID_MODEL, f"The model plugin {spec.name!r} {why}.")
