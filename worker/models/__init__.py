"""Builds the torch module of every kind of model: one file each, named like its spec in `halftime/contract/models/`."""

from dataclasses import dataclass
from functools import partial

from halftime.contract.models import ConvnetSpec, LayersSpec, MlpSpec, ModelSpec, PluginSpec, TransformersSpec
from halftime.plugin import Blueprint, CausalTokens, Images, TrainingTask, Vectors
from worker.models.convnet import Convnet
from worker.models.layers import build_layers, data_shape
from worker.models.mlp import Mlp
from worker.models.plugin import plugin_blueprint
from worker.models.transformer import Transformer
from worker.models.transformers import transformers_blueprint
from worker.tasks import as_task


@dataclass(frozen=True)
class TaskBlueprint(Blueprint):
    """A blueprint whose task is more than a shape."""

    task: TrainingTask


def blueprint_of(spec: ModelSpec) -> TaskBlueprint:
    """Returns the blueprint of a spec. Raises TrialFailed (`invalid_model`) when the spec cannot be built."""
    blueprint = _blueprint(spec)
    return TaskBlueprint(as_task(blueprint.task), blueprint.build)


def _blueprint(spec: ModelSpec) -> Blueprint:
    if isinstance(spec, MlpSpec):
        return Blueprint(Vectors(spec.input_size, spec.num_classes), partial(Mlp, spec))
    if isinstance(spec, ConvnetSpec):
        size = spec.image_size
        return Blueprint(Images(spec.in_channels, size, size, spec.num_classes), partial(Convnet, spec))
    if isinstance(spec, LayersSpec):
        return Blueprint(data_shape(spec), partial(build_layers, spec.layers, spec.first_shape))
    if isinstance(spec, PluginSpec):
        return plugin_blueprint(spec)
    if isinstance(spec, TransformersSpec):
        return transformers_blueprint(spec)
    return Blueprint(CausalTokens(spec.vocab_size, spec.sequence_length), partial(Transformer, spec))
