"""What can be asked for, and what answers."""

from typing import Any

from pydantic import BaseModel

from halftime.contract.strict import Output


class Kind(Output):
    """A kind of data: its JSON schema, its defaults and an example request."""

    kind: str
    description: str
    json_schema: dict[str, Any]
    defaults: dict[str, Any]
    example: dict[str, Any]


class ModelKind(Kind):
    """A kind of model, with the cost of its example."""

    #: null where only torch can tell
    parameter_count: int | None
    #: Forward and backward.
    training_flops_per_sample: int | None


class Catalogue(Output):
    """The kinds on offer."""

    models: list[ModelKind]
    data: list[Kind]


class Version(Output):
    """What is running."""

    halftime: str
    python: str


class Health(Output):
    """An answer to a probe."""

    status: str


def least_example(kind: str, spec: type[BaseModel]) -> dict[str, Any]:
    """The spec's own example, or the least that can be said: where a field has no default, its example."""
    own: list[dict[str, Any]] = spec.model_json_schema().get("examples", [])
    required = {name: field.examples for name, field in spec.model_fields.items() if field.is_required()}
    least = {name: examples[0] for name, examples in required.items() if examples}
    return own[0] if own else {"kind": kind} | least
