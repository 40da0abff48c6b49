"""What a request can name."""

import functools
import inspect
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel

from app import errors
from app.routes.http.auth import require
from app.routes.http.etags import matches, strong_etag
from halftime.contract.models import MODEL_KINDS
from halftime.contract.request.data import DATA_KINDS
from halftime.contract.resources.catalogue import Catalogue, Kind, ModelKind, least_example

#: What an example names beside its own part.
EXAMPLE: dict[str, Any] = {"model": {"kind": "transformer"}}

router = APIRouter(prefix="/models", tags=["catalogue"], dependencies=[require("read")])


@router.get(
    "",
    responses={304: {"description": "The client has it already"}, **errors.problem_responses(errors.Invalid)},
    response_model=Catalogue,
)
async def list_models(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Lists the kinds of model and data on offer, each with its JSON schema, defaults and an example request.

    It changes with the server's version alone, and so does its `ETag`.
    """
    body = _catalogue()
    headers = {"ETag": strong_etag(body), "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@functools.cache
def _catalogue() -> bytes:
    """Written once: the schemas take longer than all else of an answer."""
    catalogue = Catalogue(
        models=[_model_kind(kind) for kind in MODEL_KINDS],
        data=[
            Kind.model_validate(
                _about(kind, config) | {"example": EXAMPLE | {"config": {"data": least_example(kind, config)}}}
            )
            for kind, config in DATA_KINDS.items()
        ],
    )
    return catalogue.model_dump_json().encode()


def _model_kind(kind: str) -> ModelKind:
    """With the cost of the example: a kind may have no defaults to count."""
    spec = MODEL_KINDS[kind]
    example = least_example(kind, spec)
    model = spec.model_validate(example)
    cost = {
        "parameter_count": model.parameter_count(),
        "training_flops_per_sample": model.training_flops_per_sample(),
    }
    return ModelKind.model_validate(_about(kind, spec) | {"example": EXAMPLE | {"model": example}} | cost)


def _about(kind: str, spec: type[BaseModel]) -> dict[str, Any]:
    schema = spec.model_json_schema()
    return {
        "kind": kind,
        "description": inspect.getdoc(spec),
        "json_schema": schema,
        "defaults": {name: field["default"] for name, field in schema["properties"].items() if "default" in field},
    }
