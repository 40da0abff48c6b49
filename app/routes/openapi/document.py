"""Adds to the framework's document what it cannot know, when the document is asked for and not before."""

import json
from importlib import resources
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from halftime.contract.resources.problem import Problem, ValidationProblem

Json = dict[str, Any]

#: Stands above every answer: its figures could be taken for a result.
SUMMARY = "An example: nothing in it was measured, and its lists are cut short"


def extend_document(app: FastAPI) -> None:
    """Makes the app's document whole."""
    build = app.openapi

    def openapi() -> Json:
        before = app.openapi_schema
        document = build()
        if document is not before:
            operations = _operations(document)
            _add_problems(document["components"]["schemas"])
            _add_requests(operations)
            _add_answers(operations)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _add_problems(known: Json) -> None:
    """The schemas that `problem_responses` refers to: FastAPI would offer them as application/json too."""
    _, schemas = models_json_schema(
        [(Problem, "serialization"), (ValidationProblem, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    known.update(schemas["$defs"])


def _add_requests(operations: dict[str, Json]) -> None:
    """Bodies by operation, and parameters by name."""
    examples = _read("requests.json")
    for name, bodies in examples["bodies"].items():
        operations[name]["requestBody"]["content"]["application/json"]["examples"] = bodies
    for operation in operations.values():
        for parameter in operation.get("parameters", []):
            if parameter["name"] in examples["parameters"]:
                parameter["example"] = examples["parameters"][parameter["name"]]


def _add_answers(operations: dict[str, Json]) -> None:
    """Recorded ones, by operation and then by status and media type; `body` is what a webhook's receiver gets."""
    for name, answers in _read("answers.json").items():
        for place, answer in answers.items():
            status, media_type = place.split()
            part = operations[name]["requestBody"] if status == "body" else operations[name]["responses"][status]
            part["content"][media_type]["examples"] = {"example": {"summary": SUMMARY, "value": answer}}


def _operations(document: Json) -> dict[str, Json]:
    """By method and path, as in `GET /benchmarks`; a webhook's path is its name."""
    paths = document["paths"] | document["webhooks"]
    return {f"{method.upper()} {path}": one for path, methods in paths.items() for method, one in methods.items()}


def _read(name: str) -> Json:
    found: Json = json.loads(resources.files(__package__).joinpath(name).read_text("utf-8"))
    return found
