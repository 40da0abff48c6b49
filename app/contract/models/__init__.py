"""The kinds of model a request can name: schema, defaults and cost, counted without building anything.

One file each. `worker/models/` has the torch module for every kind, under the same name.
"""

from typing import Annotated

from pydantic import Field

from app.contract.models.convnet import ConvnetSpec
from app.contract.models.mlp import MlpSpec
from app.contract.models.transformer import TransformerSpec
from app.contract.models.transformers import TransformersSpec

ModelSpec = Annotated[MlpSpec | ConvnetSpec | TransformerSpec | TransformersSpec, Field(discriminator="kind")]

#: Every kind on offer, as `GET /models` lists them.
MODEL_KINDS: dict[str, type[MlpSpec] | type[ConvnetSpec] | type[TransformerSpec] | type[TransformersSpec]] = {
    "mlp": MlpSpec,
    "convnet": ConvnetSpec,
    "transformer": TransformerSpec,
    "transformers": TransformersSpec,
}

__all__ = ["MODEL_KINDS", "ConvnetSpec", "MlpSpec", "ModelSpec", "TransformerSpec", "TransformersSpec"]
