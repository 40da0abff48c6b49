"""The kinds of model and data that a request can name, and the server's version and health."""

from typing import Any

from pydantic import BaseModel

from halftime.contract.strict import Output


class Kind(Output):
    """A kind of data with its JSON schema, defaults and an example."""

    kind: str
    description: str
    json_schema: dict[str, Any]
    defaults: dict[str, Any]
    example: dict[str, Any]


class ModelKind(Kind):
    """A kind of model with the size and cost of its example."""

    #: null if only torch can count it
    parameter_count: int | None
    #: FLOP of forward and backward; null if only torch can count it.
    training_flops_per_sample: int | None


class Catalogue(Output):
    """The supported kinds of model and data."""

    models: list[ModelKind]
    data: list[Kind]


class Version(Output):
    """The versions of Halftime and Python on the server."""

    halftime: str
    python: str


class Health(Output):
    """The answer to a health check."""

    status: str


def least_example(kind: str, spec: type[BaseModel]) -> dict[str, Any]:
    """Returns the spec's own example, or a minimal one with the examples of the fields without a default."""
    own: list[dict[str, Any]] = spec.model_json_schema().get("examples", [])
    required = {name: field.examples for name, field in spec.model_fields.items() if field.is_required()}
    minimal = {name: examples[0] for name, examples in required.items() if examples}
    return own[0] if own else {"kind": kind} | minimal
