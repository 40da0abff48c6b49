"""The torch module of every kind of model: one file each, named like its spec in `app/contract/models/`."""

from torch import nn

from app.contract.models import ConvnetSpec, MlpSpec, ModelSpec
from worker.models.convnet import Convnet
from worker.models.mlp import Mlp
from worker.models.transformer import Transformer


def build_model(spec: ModelSpec) -> nn.Module:
    """The module of a spec, on the CPU, with weights from torch's global generator.

    It maps inputs (`worker.data` says their shape) to logits whose last dimension is the classes or tokens.
    """
    if isinstance(spec, MlpSpec):
        return Mlp(spec)
    if isinstance(spec, ConvnetSpec):
        return Convnet(spec)
    return Transformer(spec)
