"""The torch module of every kind of model: one file each, named like its spec in `halftime/contract/models/`."""

from functools import partial

import torch
from torch import nn

from halftime.contract.models import ConvnetSpec, LayersSpec, MlpSpec, ModelSpec, PluginSpec, TransformersSpec
from halftime.plugin import Blueprint, CausalTokens, Images, Vectors
from worker.models.convnet import Convnet
from worker.models.layers import build_layers, data_shape
from worker.models.mlp import Mlp
from worker.models.plugin import plugin_blueprint
from worker.models.transformer import Transformer
from worker.models.transformers import transformers_blueprint


def blueprint_of(spec: ModelSpec) -> Blueprint:
    """What a spec describes. Raises TrialFailed (`invalid_model`) where it describes nothing that can be built."""
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


def build_model(spec: ModelSpec) -> nn.Module:
    """The module of a spec, on the CPU unless torch's default device is another."""
    return blueprint_of(spec).build()


def count_parameters(blueprint: Blueprint) -> int:
    """Of the model, built without weights."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in blueprint.build().parameters())
