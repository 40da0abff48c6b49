"""Completes the framework's OpenAPI document with problem schemas and examples, on its first request."""

import json
from importlib import resources
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from halftime.contract.resources.problem import Problem, ValidationProblem

Json = dict[str, Any]

#: Summary of every example response, so that nobody takes its numbers for a result.
SUMMARY = "An example: nothing in it was measured, and its lists are cut short"


def extend_document(app: FastAPI) -> None:
    """Makes `app.openapi` return the completed document."""
    build = app.openapi

    def openapi() -> Json:
        before = app.openapi_schema
        document = build()
        if document is not before:
            operations = _operations(document)
            _add_problems(document["components"]["schemas"])
            _add_requests(operations)
            _add_responses(operations)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _add_problems(known: Json) -> None:
    """Adds the schemas that `problem_responses` refers to; FastAPI would offer them as application/json too."""
    _, schemas = models_json_schema(
        [(Problem, "serialization"), (ValidationProblem, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    known.update(schemas["$defs"])


def _add_requests(operations: dict[str, Json]) -> None:
    """Adds example request bodies by operation, and example parameters by name."""
    examples = _read("requests.json")
    for name, bodies in examples["bodies"].items():
        operations[name]["requestBody"]["content"]["application/json"]["examples"] = bodies
    for operation in operations.values():
        for parameter in operation.get("parameters", []):
            if parameter["name"] in examples["parameters"]:
                parameter["example"] = examples["parameters"][parameter["name"]]


def _add_responses(operations: dict[str, Json]) -> None:
    """Adds recorded responses by operation, status and media type; `body` is the request body of a webhook."""
    for name, responses in _read("answers.json").items():
        for place, example in responses.items():
            status, media_type = place.split()
            part = operations[name]["requestBody"] if status == "body" else operations[name]["responses"][status]
            part["content"][media_type]["examples"] = {"example": {"summary": SUMMARY, "value": example}}


def _operations(document: Json) -> dict[str, Json]:
    """Returns the operations by method and path, such as `GET /benchmarks`; a webhook's path is its name."""
    paths = document["paths"] | document["webhooks"]
    return {f"{method.upper()} {path}": each for path, methods in paths.items() for method, each in methods.items()}


def _read(name: str) -> Json:
    content: Json = json.loads(resources.files(__package__).joinpath(name).read_text("utf-8"))
    return content
