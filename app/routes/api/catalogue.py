"""`/models`: the kinds of model and data that a request can name."""

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

#: The required part of every example request.
EXAMPLE: dict[str, Any] = {"model": {"kind": "transformer"}}

router = APIRouter(prefix="/models", tags=["catalogue"], dependencies=[require("read")])


@router.get(
    "",
    responses={304: {"description": "Unchanged since `If-None-Match`"}, **errors.problem_responses(errors.Invalid)},
    response_model=Catalogue,
)
async def list_models(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Lists the available kinds of model and data, each with its JSON schema, defaults and an example request.

    The list and its `ETag` change only with the server's version.
    """
    body = _catalogue()
    headers = {"ETag": strong_etag(body), "Cache-Control": "private, no-cache"}
    if matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


@functools.cache
def _catalogue() -> bytes:
    """Serializes the catalogue once per process: generating the schemas is slow."""
    catalogue = Catalogue(
        models=[_model_kind(kind) for kind in MODEL_KINDS],
        data=[
            Kind.model_validate(
                _describe(kind, config) | {"example": EXAMPLE | {"config": {"data": least_example(kind, config)}}}
            )
            for kind, config in DATA_KINDS.items()
        ],
    )
    return catalogue.model_dump_json().encode()


def _model_kind(kind: str) -> ModelKind:
    """Returns a kind of model with the cost of its example: a kind without defaults has no cost of its own."""
    spec = MODEL_KINDS[kind]
    example = least_example(kind, spec)
    model = spec.model_validate(example)
    cost = {
        "parameter_count": model.parameter_count(),
        "training_flops_per_sample": model.training_flops_per_sample(),
    }
    return ModelKind.model_validate(_describe(kind, spec) | {"example": EXAMPLE | {"model": example}} | cost)


def _describe(kind: str, spec: type[BaseModel]) -> dict[str, Any]:
    schema = spec.model_json_schema()
    return {
        "kind": kind,
        "description": inspect.getdoc(spec),
        "json_schema": schema,
        "defaults": {name: field["default"] for name, field in schema["properties"].items() if "default" in field},
    }
