"""Builds the torch module of every kind of model: one file each, named like its spec in `halftime/contract/models/`."""

from dataclasses import dataclass
from functools import partial

from halftime.contract.models import (
    ConvnetSpec,
    DiffusersSpec,
    DitSpec,
    DlrmSpec,
    LayersSpec,
    MlpSpec,
    ModelSpec,
    PluginSpec,
    TransformersSpec,
)
from halftime.plugin import Blueprint, CausalTokens, Images, TrainingTask
from worker.models.convnet import Convnet
from worker.models.diffusers import diffusers_blueprint
from worker.models.dit import Dit
from worker.models.dlrm import Dlrm
from worker.models.layers import build_layers
from worker.models.layers import task_of as task_of_layers
from worker.models.mlp import Mlp
from worker.models.mlp import task_of as task_of_mlp
from worker.models.plugin import plugin_blueprint
from worker.models.transformer import Transformer
from worker.models.transformers import transformers_blueprint
from worker.tasks import as_task
from worker.tasks.click_prediction import ClickPrediction
from worker.tasks.diffusion import Diffusion


@dataclass(frozen=True)
class TaskBlueprint(Blueprint):
    """A blueprint whose task is more than a shape."""

    task: TrainingTask


def blueprint_of(spec: ModelSpec) -> TaskBlueprint:
    """Returns the blueprint of a spec. Raises TrialFailed (`invalid_model`) when the spec cannot be built."""
    blueprint = _blueprint(spec)
    return TaskBlueprint(as_task(blueprint.task), blueprint.build)


def _blueprint(spec: ModelSpec) -> Blueprint:  # noqa: PLR0911 # one return for every kind
    match spec:
        case MlpSpec():
            return Blueprint(task_of_mlp(spec), partial(Mlp, spec))
        case ConvnetSpec():
            size = spec.image_size
            return Blueprint(Images(spec.in_channels, size, size, spec.num_classes), partial(Convnet, spec))
        case DitSpec():
            return Blueprint(Diffusion(spec.channels, spec.image_size, spec.num_classes), partial(Dit, spec))
        case DlrmSpec():
            return Blueprint(ClickPrediction(spec), partial(Dlrm, spec))
        case LayersSpec():
            return Blueprint(task_of_layers(spec), partial(build_layers, spec.layers, spec.first_shape))
        case PluginSpec():
            return plugin_blueprint(spec)
        case TransformersSpec():
            return transformers_blueprint(spec)
        case DiffusersSpec():
            return diffusers_blueprint(spec)
        case _:
            return Blueprint(CausalTokens(spec.vocab_size, spec.sequence_length), partial(Transformer, spec))
