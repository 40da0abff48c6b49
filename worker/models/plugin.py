"""Builds a model from the plugin of an installed package."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from halftime.contract.models import PluginSpec
from halftime.contract.report.failure import FailureCode
from halftime.contract.report.metrics import METRIC_NAME
from halftime.plugin import Blueprint, DataShape, Source, TrainingTask
from worker.data import metric_facts
from worker.data.batches import map_tensors
from worker.data.layout import layout_of
from worker.errors import TrialFailed
from worker.plugins import load, plugin_errors
from worker.tasks.plugin import PluginTask, check_metric

GROUP = "halftime.models"


def plugin_blueprint(spec: PluginSpec) -> Blueprint:
    """Calls the entry point with its arguments. Raises TrialFailed (`invalid_model`) that quotes the plugin's error."""
    make = load(GROUP, spec.name, FailureCode.INVALID_MODEL)
    with plugin_errors(f"The model plugin {spec.name!r} rejected its arguments", FailureCode.INVALID_MODEL):
        blueprint = make(**spec.arguments)  # type: ignore[operator] # a TypeError is handled like any other error
    task, build = getattr(blueprint, "task", None), getattr(blueprint, "build", None)
    if not isinstance(task, TrainingTask | DataShape) or not callable(build):
        raise _invalid(spec, "must return a halftime.plugin.Blueprint: a `task` or a shape, and a function `build`")
    if isinstance(task, TrainingTask):
        _check_shape(spec, task)
        _check_metrics(spec, task)
        task = PluginTask(spec.name, task)
    return Blueprint(task, partial(_build, spec, build))


def _check_shape(spec: PluginSpec, task: TrainingTask) -> None:
    with plugin_errors(f"The model plugin {spec.name!r} failed in `shape` of its task", FailureCode.INVALID_MODEL):
        shape = task.shape
    if not isinstance(shape, DataShape | None):
        raise _invalid(spec, f"must have a shape of halftime.plugin as `shape` of its task, or None, not {shape!r}")


def _check_metrics(spec: PluginSpec, task: TrainingTask) -> None:
    with plugin_errors(f"The task of plugin {spec.name!r} must list metrics in `reported`", FailureCode.INVALID_MODEL):
        names = [metric_facts(metric).name for metric in task.reported]
        for metric in task.reported:
            check_metric(metric)
    well_named = all(re.fullmatch(METRIC_NAME, name) for name in names)
    if "loss" not in names or len(set(names)) < len(names) or not well_named:
        raise _invalid(spec, f"must report a metric `loss` and others of distinct lower_case names, not {names}")


def check_task(spec: PluginSpec, model: nn.Module, task: TrainingTask, source: Source) -> None:
    """Checks a model and its task on the meta device. Raises TrialFailed (`invalid_model`)."""
    if task.shape is not None:
        return check_logits(spec, model, task.shape)
    batch = source.sample("training", 2, torch.Generator().manual_seed(0))
    if isinstance(task, PluginTask):
        task.check_predictions(batch)
    with _errors_on_meta(f"The task of plugin {spec.name!r} failed on two of its samples"), torch.device("meta"):
        loss = task.loss(model, map_tensors(lambda tensor: tensor.to("meta"), batch))
        if not isinstance(loss, Tensor) or loss.dim() != 0 or not loss.requires_grad:
            raise _invalid(spec, f"must return the loss as a scalar tensor with a gradient, not {_described(loss)}")
    return None


def check_logits(spec: PluginSpec, model: nn.Module, shape: DataShape) -> None:
    """Checks the output shape of a model on the meta device. Raises TrialFailed (`invalid_model`)."""
    layout = layout_of(shape)
    dtype = torch.float32 if layout.vocab_size is None else torch.int64
    expected = (2, *layout.target_shape, layout.num_classes)
    with _errors_on_meta(f"The model of plugin {spec.name!r} failed on samples of its shape"), torch.device("meta"):
        logits = model(torch.zeros(2, *layout.input_shape, dtype=dtype))
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            why = f"must return logits of the shape {expected} for two samples, not {_described(logits)}"
            raise _invalid(spec, why)


@contextmanager
def _errors_on_meta(what: str) -> Iterator[None]:
    with plugin_errors(what, FailureCode.INVALID_MODEL):
        try:
            yield
        except (RuntimeError, NotImplementedError) as error:
            if "meta" not in str(error):  # else it reads values, which the meta device has not: training shows errors
                raise


def _described(result: object) -> str:
    return str(tuple(result.shape)) if isinstance(result, Tensor) else type(result).__name__


def _build(spec: PluginSpec, build: Callable[[], object]) -> nn.Module:
    with plugin_errors(f"The model plugin {spec.name!r} could not build its model", FailureCode.INVALID_MODEL):
        model = build()
    if not isinstance(model, nn.Module) or not any(True for _ in model.parameters()):
        raise _invalid(spec, "must build a torch module with parameters")
    return model


def _invalid(spec: PluginSpec, why: str) -> TrialFailed:
    return TrialFailed.because(FailureCode.INVALID_MODEL, f"The model plugin {spec.name!r} {why}.")
