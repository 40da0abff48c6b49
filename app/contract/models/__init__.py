"""The kinds of model a request can name: schema, defaults and cost, counted without building anything.

One file each, a package for `layers`. `worker/models/` has the torch module for every kind, under the same name.
"""

from typing import Annotated

from pydantic import Field

from app.contract.models.convnet import ConvnetSpec
from app.contract.models.layers import LayersSpec
from app.contract.models.mlp import MlpSpec
from app.contract.models.plugin import PluginSpec
from app.contract.models.transformer import TransformerSpec

ModelSpec = Annotated[MlpSpec | ConvnetSpec | TransformerSpec | LayersSpec | PluginSpec, Field(discriminator="kind")]
ModelKindType = type[MlpSpec] | type[ConvnetSpec] | type[TransformerSpec] | type[LayersSpec] | type[PluginSpec]

#: Every kind on offer, as `GET /models` lists them.
MODEL_KINDS: dict[str, ModelKindType] = {
    "mlp": MlpSpec,
    "convnet": ConvnetSpec,
    "transformer": TransformerSpec,
    "layers": LayersSpec,
    "plugin": PluginSpec,
}

__all__ = [
    "MODEL_KINDS",
    "ConvnetSpec",
    "LayersSpec",
    "MlpSpec",
    "ModelKindType",
    "ModelSpec",
    "PluginSpec",
    "TransformerSpec",
]
