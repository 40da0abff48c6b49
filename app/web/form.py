"""The form for a benchmark request, generated from the contract's schema, so that it covers every field."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel

from halftime.contract.models import MODEL_KINDS
from halftime.contract.request.data import DATA_KINDS
from halftime.contract.request.request import BenchmarkRequest, Requirements
from halftime.contract.resources.catalogue import least_example

Schema = dict[str, Any]
Control = Literal["choice", "choices", "switch", "number", "text", "numbers", "pairs", "json"]

#: Groups that are always visible, in this order; all other fields are under "More settings".
FRONT: dict[str, tuple[str, ...]] = {
    "Device": ("/config/device", "/config/gpu", "/config/min_gpu_memory_gib"),
    "Precisions": ("/config/baseline", "/config/candidates"),
    "Training": tuple(f"/config/training/{name}" for name in ("batch_size", "steps", "optimizer", "learning_rate")),
    "Explanation": ("/config/explain", "/config/explain/verify"),
    "Requirements": tuple(f"/requirements/{name}" for name in Requirements.model_fields),
    "Labels": ("/labels",),
}

#: Titles of the groups under "More settings", by the object that contains the fields.
MORE = {
    "/config/training": "Further training settings",
    "/config/training/grad_scaler": "Gradient scaler of fp16",
    "/config/measurement": "Measurement",
    "/config": "Limits",
    "": "Queue, webhook and tracking",
}

UNITS = {"seconds": "s", "percent": "%", "gib": "GiB", "mib": "MiB"}
ABBREVIATIONS = {"Gpu": "GPU", "gpu": "GPU", "ci": "interval"}


@dataclass(frozen=True)
class Field:
    """One field of a request, with its control, label and hint."""

    id: str
    #: JSON pointer into the request.
    pointer: str
    control: Control
    label: str
    hint: str
    default: Any
    #: Whether null is a valid value: none, or switched off.
    nullable: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A group of fields; errors of their object as a whole are shown here."""

    title: str
    pointer: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class FormSection:
    """A kind of model or data: its description, initial value, and fields."""

    name: str
    about: str
    start: Schema
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Form:
    """The whole form."""

    models: tuple[FormSection, ...]
    data: tuple[FormSection, ...]
    front: tuple[Group, ...]
    more: tuple[Group, ...]


@cache
def request_form() -> Form:
    """Returns the form; it is built once, since the contract does not change at run time."""
    schema = BenchmarkRequest.model_json_schema()
    remaining = {field.pointer: field for field in _fields(schema, schema["$defs"], "", "field")}
    front = tuple(
        Group(title, _parent(pointers[0]), tuple(remaining.pop(pointer) for pointer in pointers))
        for title, pointers in FRONT.items()
    )
    more = tuple(
        Group(title, parent, tuple(field for field in remaining.values() if _parent(field.pointer) == parent))
        for parent, title in MORE.items()
    )
    models = tuple(_kind(name, spec, "/model") for name, spec in MODEL_KINDS.items())
    return Form(models, tuple(_kind(name, spec, "/config/data") for name, spec in DATA_KINDS.items()), front, more)


def without_defaults(model: BaseModel) -> Schema:
    """Returns a request without the fields that have their default value; it has the same meaning."""
    fields = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name != "kind" and not field.is_required() and value == field.get_default(call_default_factory=True):
            del fields[name]
        elif isinstance(value, BaseModel):
            fields[name] = without_defaults(value)
    return fields


def _parent(pointer: str) -> str:
    return pointer.rpartition("/")[0]


def _kind(name: str, spec: type[BaseModel], pointer: str) -> FormSection:
    schema = spec.model_json_schema()
    about = " ".join((spec.__doc__ or "").partition("\n\n")[0].split())
    fields = [
        field for field in _fields(schema, schema.get("$defs", {}), pointer, name) if field.pointer != f"{pointer}/kind"
    ]
    return FormSection(name, _hint_text(about), least_example(name, spec), tuple(fields))


def _fields(schema: Schema, definitions: Schema, pointer: str, prefix: str) -> list[Field]:
    """Returns the fields of an object and of nested objects, except those with a discriminator (model and data)."""
    fields: list[Field] = []
    for name, definition in schema["properties"].items():
        here = f"{pointer}/{name}"
        if "$ref" in definition:
            fields += _fields(_referred(definition, definitions), definitions, here, prefix)
        elif settings := _switched_settings(definition):
            fields.append(_field(name, definition | {"anyOf": [{"type": "boolean"}]}, here, prefix))
            fields += _fields(_referred(settings, definitions), definitions, here, prefix)
        elif "discriminator" not in definition:
            fields.append(_field(name, definition, here, prefix))
    return fields


def _referred(definition: Schema, definitions: Schema) -> Schema:
    schema: Schema = definitions[definition["$ref"].rpartition("/")[2]]
    return schema


def _switched_settings(definition: Schema) -> Schema | None:
    """Returns the object that may stand for true with settings of its own; None for any other field."""
    members = definition.get("anyOf", [])
    is_switch = any(member.get("type") == "boolean" for member in members)
    return next((member for member in members if "$ref" in member), None) if is_switch else None


def _field(name: str, definition: Schema, pointer: str, prefix: str) -> Field:
    members = [member for member in definition.get("anyOf", [definition]) if member.get("type") != "null"]
    value = members[0]
    return Field(
        id=prefix + pointer.replace("/", "-"),
        pointer=pointer,
        control=_control(value),
        label=_label(name),
        hint="; ".join(part for part in (_hint_text(definition.get("description", "")), _bounds(value)) if part),
        default=definition.get("default"),
        nullable=any(member.get("type") == "null" for member in definition.get("anyOf", [])),
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
    members = [*value.get("patternProperties", {}).values()]
    return bool(members) and all(member.get("type") == "string" for member in members)


def _label(name: str) -> str:
    words = name.split("_")
    unit = f", {UNITS[words.pop()]}" if words[-1] in UNITS else ""
    words[0] = words[0].capitalize()
    return " ".join(ABBREVIATIONS.get(word, word) for word in words) + unit


def _bounds(value: Schema) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    bounds = {"above": "exclusiveMinimum", "at least": "minimum", "below": "exclusiveMaximum", "at most": "maximum"}
    return ", ".join(f"{word} {_number(value[key])}" for word, key in bounds.items() if key in value)


def _number(bound: float) -> str:
    return f"{int(bound) if bound == int(bound) else bound:,}"


def _hint_text(text: str) -> str:
    """Adapts a description to the form: without code marks, and with "empty" for null."""
    return text.replace("`", "").replace("null:", "empty:").rstrip(".")
