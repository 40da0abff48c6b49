"""What a request can name."""

import inspect
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.contract.catalogue import Catalogue, Kind, ModelKind
from app.contract.data import DATA_KINDS
from app.contract.models import MODEL_KINDS

router = APIRouter(prefix="/models", tags=["catalogue"])


@router.get("")
async def list_models() -> Catalogue:
    """Lists the kinds of model and data on offer, each with its JSON schema, defaults and an example request."""
    return Catalogue(
        models=[_model_kind(kind) for kind in MODEL_KINDS],
        data=[
            Kind.model_validate(_about(kind, config, {"config": {"data": {"kind": kind}}}))
            for kind, config in DATA_KINDS.items()
        ],
    )


def _model_kind(kind: str) -> ModelKind:
    """With the cost of the example: a kind may have no defaults to count."""
    spec = MODEL_KINDS[kind]
    example = spec.model_json_schema().get("examples", [{"kind": kind}])[0]
    model = spec.model_validate(example)
    cost = {
        "parameter_count": model.parameter_count(),
        "training_flops_per_sample": model.training_flops_per_sample(),
    }
    return ModelKind.model_validate(_about(kind, spec, {"model": example}) | cost)


def _about(kind: str, spec: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    schema = spec.model_json_schema()
    return {
        "kind": kind,
        "description": inspect.getdoc(spec),
        "json_schema": schema,
        "defaults": {name: field["default"] for name, field in schema["properties"].items() if "default" in field},
        "example": {"model": {"kind": "transformer"}} | example,
    }
