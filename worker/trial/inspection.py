"""Inspects a model and its data before training: whether they can be built, and the model's size, without weights."""

import resource

import torch

from halftime.contract.models import PluginSpec
from halftime.contract.report.failure import FailureCode
from halftime.plugin import TrainingTask
from worker.data import make_source
from worker.errors import TrialFailed
from worker.messages import Inspection, ModelFacts
from worker.models import blueprint_of
from worker.models.plugin import check_task
from worker.training.adapters import add_adapters

#: Address space that an inspection may add: a limit for specs with billions of layers.
MORE_BYTES = 8 * 2**30


def inspect_model(inspection: Inspection) -> ModelFacts:
    """Returns the facts of a model without building it.

    Raises TrialFailed: `invalid_model`, `invalid_data`, `unknown_metric`.
    """
    _limit_memory()
    blueprint = blueprint_of(inspection.model)
    _require_metrics(inspection.metrics, blueprint.task)
    source = make_source(blueprint.task, inspection.data, inspection.seed)
    try:
        with torch.device("meta"):
            model = blueprint.build()
    except MemoryError as error:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL, "The model has too many layers to fit into memory. Use fewer layers."
        ) from error
    if isinstance(inspection.model, PluginSpec):
        check_task(inspection.model, model, blueprint.task, source)
    if inspection.adapters is not None:
        add_adapters(model, inspection.adapters)
    weights = list(model.parameters())
    buffer_bytes = sum(buffer.nbytes for buffer in model.buffers())
    return ModelFacts(
        parameter_count=sum(weight.numel() for weight in weights),
        min_memory_bytes=sum(weight.nbytes * (1 + weight.requires_grad) for weight in weights) + buffer_bytes,
    )


def _require_metrics(names: list[str], task: TrainingTask) -> None:
    known = [metric.name for metric in task.reported]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise TrialFailed.because(
            FailureCode.UNKNOWN_METRIC,
            f"The model's task does not measure {', '.join(unknown)}, which `requirements` has a threshold for. Its "
            f"metrics are: {', '.join(known)}.",
        )


def _limit_memory() -> None:
    """Limits the address space of this process, which ends with the inspection."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 # no path of a user's
        mapped_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = mapped_bytes + MORE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
