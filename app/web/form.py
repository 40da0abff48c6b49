"""The form of a request, made from the contract's schema: what a request can say, the form can."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from halftime.contract.models import MODEL_KINDS
from halftime.contract.report.requirements import REQUIREMENTS
from halftime.contract.request.data import DATA_KINDS
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.catalogue import least_example

Schema = dict[str, Any]
Control = Literal["choice", "choices", "switch", "number", "text", "numbers", "pairs", "json"]

#: What stands open, in this order; everything else is under "more".
FRONT: dict[str, tuple[str, ...]] = {
    "Where it runs": ("/config/device", "/config/gpu", "/config/min_gpu_memory_gib"),
    "Precisions": ("/config/baseline", "/config/candidates"),
    "Training": tuple(f"/config/training/{name}" for name in ("batch_size", "steps", "optimizer", "learning_rate")),
    "Requirements": tuple(f"/requirements/{name}" for name in REQUIREMENTS),
    "To find it again": ("/labels",),
}

#: What is under "more", by the object that it is in.
MORE = {
    "/config/training": "Training in detail",
    "/config/training/grad_scaler": "Gradient scaler of fp16",
    "/config/measurement": "Measurement",
    "/config": "Limits",
    "": "Queue, webhook and tracking",
}

UNITS = {"seconds": "s", "percent": "%", "gib": "GiB", "mib": "MiB"}
ABBREVIATIONS = {"Gpu": "GPU", "gpu": "GPU", "ci": "interval"}


@dataclass(frozen=True)
class Field:
    """One value of a request, with what a person needs to know to give it."""

    id: str
    #: A JSON pointer into the request.
    pointer: str
    control: Control
    label: str
    hint: str
    default: Any
    #: null is a value: nothing, or off.
    nullable: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Fields that belong together; a fault of their object as a whole is shown here."""

    title: str
    pointer: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class FormSection:
    """A kind of model or data: what it is, what it begins with, and its own fields."""

    name: str
    about: str
    start: Schema
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Form:
    """All of it."""

    models: tuple[FormSection, ...]
    data: tuple[FormSection, ...]
    front: tuple[Group, ...]
    more: tuple[Group, ...]


@cache
def request_form() -> Form:
    """Made once: the contract does not change while the server runs."""
    schema = BenchmarkRequest.model_json_schema()
    left = {field.pointer: field for field in _fields(schema, schema["$defs"], "", "field")}
    front = tuple(
        Group(title, _parent(pointers[0]), tuple(left.pop(pointer) for pointer in pointers))
        for title, pointers in FRONT.items()
    )
    more = tuple(
        Group(title, parent, tuple(field for field in left.values() if _parent(field.pointer) == parent))
        for parent, title in MORE.items()
    )
    models = tuple(_kind(name, spec, "/model") for name, spec in MODEL_KINDS.items())
    return Form(models, tuple(_kind(name, spec, "/config/data") for name, spec in DATA_KINDS.items()), front, more)


def lean(model: BaseModel) -> Schema:
    """What of a request is not the default: as short as a person would write it, with the same meaning."""
    written = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name != "kind" and not field.is_required() and value == field.get_default(call_default_factory=True):
            del written[name]
        elif isinstance(value, BaseModel):
            written[name] = lean(value)
    return written


def _parent(pointer: str) -> str:
    return pointer.rpartition("/")[0]


def _kind(name: str, spec: type[BaseModel], pointer: str) -> FormSection:
    schema = spec.model_json_schema()
    about = " ".join((spec.__doc__ or "").partition("\n\n")[0].split())
    fields = [
        field for field in _fields(schema, schema.get("$defs", {}), pointer, name) if field.pointer != f"{pointer}/kind"
    ]
    return FormSection(name, _plain(about), least_example(name, spec), tuple(fields))


def _fields(schema: Schema, definitions: Schema, pointer: str, prefix: str) -> list[Field]:
    """The fields of an object and of those in it; what has kinds is left out."""
    found: list[Field] = []
    for name, described in schema["properties"].items():
        here = f"{pointer}/{name}"
        if "$ref" in described:
            found += _fields(definitions[described["$ref"].rpartition("/")[2]], definitions, here, prefix)
        elif "discriminator" not in described:
            found.append(_field(name, described, here, prefix))
    return found


def _field(name: str, described: Schema, pointer: str, prefix: str) -> Field:
    members = [member for member in described.get("anyOf", [described]) if member.get("type") != "null"]
    value = members[0]
    return Field(
        id=prefix + pointer.replace("/", "-"),
        pointer=pointer,
        control=_control(value),
        label=_label(name),
        hint="; ".join(part for part in (_plain(described.get("description", "")), _bounds(value)) if part),
        default=described.get("default"),
        nullable="anyOf" in described,
        choices=tuple(value.get("enum") or value.get("items", {}).get("enum", ())),
    )


def _control(value: Schema) -> Control:
    if "enum" in value:
        return "choice"
    items = value.get("items", {})
    of_type: dict[str, Control] = {
        "boolean": "switch",
        "integer": "number",
        "number": "number",
        "string": "text",
        "array": "choices" if "enum" in items else "numbers" if items.get("type") in {"integer", "number"} else "json",
        "object": "pairs" if _holds_text(value) else "json",
    }
    return of_type.get(value.get("type", ""), "json")


def _holds_text(value: Schema) -> bool:
    held = [*value.get("patternProperties", {}).values()]
    return bool(held) and all(one.get("type") == "string" for one in held)


def _label(name: str) -> str:
    words = name.split("_")
    unit = f", {UNITS[words.pop()]}" if words[-1] in UNITS else ""
    words[0] = words[0].capitalize()
    return " ".join(ABBREVIATIONS.get(word, word) for word in words) + unit


def _bounds(value: Schema) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    if low is not None and high is not None:
        return f"{_figure(low)} to {_figure(high)}"
    named = {"above": "exclusiveMinimum", "at least": "minimum", "below": "exclusiveMaximum", "at most": "maximum"}
    return ", ".join(f"{word} {_figure(value[key])}" for word, key in named.items() if key in value)


def _figure(bound: float) -> str:
    return f"{int(bound) if bound == int(bound) else bound:,}"


def _plain(text: str) -> str:
    """A description as a form says it: without the marks of code, and null is an empty field."""
    return text.replace("`", "").replace("null:", "empty:").rstrip(".")
