"""The kinds of model that a request can name: schema, defaults and cost, computed without building the model.

Each kind has its own file, or a package for `layers`. `worker/models/` has its torch module under the same name.
"""

from typing import Annotated

from pydantic import Field

from halftime.contract.models.convnet import ConvnetSpec
from halftime.contract.models.diffusers import DiffusersSpec
from halftime.contract.models.dit import DitSpec
from halftime.contract.models.dlrm import DlrmSpec
from halftime.contract.models.layers import LayersSpec
from halftime.contract.models.mlp import MlpSpec
from halftime.contract.models.plugin import PluginSpec
from halftime.contract.models.transformer import TransformerSpec
from halftime.contract.models.transformers import TransformersSpec

ModelSpec = Annotated[
    MlpSpec
    | ConvnetSpec
    | TransformerSpec
    | DitSpec
    | DlrmSpec
    | TransformersSpec
    | DiffusersSpec
    | LayersSpec
    | PluginSpec,
    Field(discriminator="kind"),
]
ModelKind = (
    type[MlpSpec]
    | type[ConvnetSpec]
    | type[TransformerSpec]
    | type[DitSpec]
    | type[DlrmSpec]
    | type[TransformersSpec]
    | type[DiffusersSpec]
    | type[LayersSpec]
    | type[PluginSpec]
)

#: Every supported kind, as `GET /models` lists them.
MODEL_KINDS: dict[str, ModelKind] = {
    "mlp": MlpSpec,
    "convnet": ConvnetSpec,
    "transformer": TransformerSpec,
    "dit": DitSpec,
    "dlrm": DlrmSpec,
    "transformers": TransformersSpec,
    "diffusers": DiffusersSpec,
    "layers": LayersSpec,
    "plugin": PluginSpec,
}

__all__ = [
    "MODEL_KINDS",
    "ConvnetSpec",
    "DiffusersSpec",
    "DitSpec",
    "DlrmSpec",
    "LayersSpec",
    "MlpSpec",
    "ModelSpec",
    "PluginSpec",
    "TransformerSpec",
    "TransformersSpec",
]
