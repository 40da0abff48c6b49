"""What a request can name."""

import inspect
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.contract.catalogue import Catalogue, Kind, ModelKind
from app.contract.data import DATA_KINDS
from app.contract.models import MODEL_KINDS, ModelKindType

#: What an example names beside its own part.
EXAMPLE: dict[str, Any] = {"model": {"kind": "transformer"}}

router = APIRouter(prefix="/models", tags=["catalogue"])


@router.get("")
async def list_models() -> Catalogue:
    """Lists the kinds of model and data on offer, each with its JSON schema, defaults and an example request."""
    return Catalogue(
        models=[_model_kind(kind, spec) for kind, spec in MODEL_KINDS.items()],
        data=[
            Kind.model_validate(
                _about(kind, config) | {"example": EXAMPLE | {"config": {"data": _example(kind, config)}}}
            )
            for kind, config in DATA_KINDS.items()
        ],
    )


def _model_kind(kind: str, spec: ModelKindType) -> ModelKind:
    example = _example(kind, spec)
    described = spec.model_validate(example)
    cost = {
        "parameter_count": described.parameter_count(),
        "training_flops_per_sample": described.training_flops_per_sample(),
    }
    return ModelKind.model_validate(_about(kind, spec) | {"example": EXAMPLE | {"model": example}} | cost)


def _about(kind: str, spec: type[BaseModel]) -> dict[str, Any]:
    return {
        "kind": kind,
        "description": inspect.getdoc(spec),
        "json_schema": spec.model_json_schema(),
        "defaults": spec.model_validate(_example(kind, spec)).model_dump(mode="json", exclude=_required(spec)),
    }


def _example(kind: str, spec: type[BaseModel]) -> dict[str, Any]:
    """The least that can be said of a kind: where a field has no default, its example."""
    fields = {name: spec.model_fields[name].examples for name in _required(spec)}
    return {"kind": kind} | {name: examples[0] for name, examples in fields.items() if examples}


def _required(spec: type[BaseModel]) -> set[str]:
    return {name for name, field in spec.model_fields.items() if field.is_required()}
