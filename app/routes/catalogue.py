"""What a request can name."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.contract.catalogue import Catalogue, Kind
from app.contract.models import MODEL_KINDS
from app.contract.request import SyntheticData

router = APIRouter(prefix="/models", tags=["catalogue"])


@router.get("")
async def list_models() -> Catalogue:
    """Lists the kinds of model and data on offer, each with its JSON schema, defaults and an example request."""
    return Catalogue(
        models=[_kind(kind, spec, {"model": {"kind": kind}}) for kind, spec in MODEL_KINDS.items()],
        data=[
            _kind(
                "synthetic",
                SyntheticData,
                {"model": {"kind": "transformer"}, "config": {"data": {"kind": "synthetic"}}},
            )
        ],
    )


def _kind(kind: str, spec: type[BaseModel], example: dict[str, Any]) -> Kind:
    return Kind(
        kind=kind,
        description=(spec.__doc__ or "").strip(),
        json_schema=spec.model_json_schema(),
        defaults=spec().model_dump(mode="json"),
        example=example,
    )
