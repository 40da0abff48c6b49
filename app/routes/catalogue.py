"""What a request can name."""

import inspect
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.contract.catalogue import Catalogue, Kind, ModelKind
from app.contract.data import DATA_KINDS
from app.contract.models import MODEL_KINDS, ConvnetSpec, LayersSpec, MlpSpec, TransformerSpec

router = APIRouter(prefix="/models", tags=["catalogue"])


@router.get("")
async def list_models() -> Catalogue:
    """Lists the kinds of model and data on offer, each with its JSON schema, defaults and an example request."""
    return Catalogue(
        models=[_model_kind(kind, spec) for kind, spec in MODEL_KINDS.items()],
        data=[
            Kind.model_validate(_about(kind, config, {"config": {"data": {"kind": kind}}}))
            for kind, config in DATA_KINDS.items()
        ],
    )


def _model_kind(
    kind: str, spec: type[MlpSpec] | type[ConvnetSpec] | type[TransformerSpec] | type[LayersSpec]
) -> ModelKind:
    defaults = spec()
    cost = {
        "parameter_count": defaults.parameter_count(),
        "training_flops_per_sample": defaults.training_flops_per_sample(),
    }
    return ModelKind.model_validate(_about(kind, spec, {"model": {"kind": kind}}) | cost)


def _about(kind: str, spec: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": kind,
        "description": inspect.getdoc(spec),
        "json_schema": spec.model_json_schema(),
        "defaults": spec().model_dump(mode="json"),
        "example": {"model": {"kind": "transformer"}} | example,
    }
