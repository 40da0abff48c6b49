"""Selects the settings of a request that reach the library: those that it reads, under the names that it reads.

The library's config classes accept any name, so a misspelling would go unnoticed. What a class reads is found in its
fields and in the source of its architecture: settings of older versions are read there under their old names.
"""

import dataclasses
import difflib
import functools
import inspect
import re
from pathlib import Path
from typing import Any

from halftime.contract.models.overrides import NAMES_CODE
from halftime.contract.models.published import (
    CLASSIFICATION,
    FACTS,
    GENERATION,
    SWITCHES,
    implementation_of,
    is_off,
)
from worker.models.transformers.library import library
from worker.models.transformers.rejections import refused

Settings = dict[str, Any]

#: Old names that `convert_rope_params_to_dict` of the library moves into `rope_parameters`.
ROTARY = {"rope_theta", "rope_scaling", "partial_rotary_factor"}

#: How the source of an architecture reads a setting: an attribute of the config, or a keyword of its constructor.
ATTRIBUTE = re.compile(r"config\.([a-z]\w*)|getattr\((?:self\.)?\w*config, ?[\"']([a-z]\w*)")
KEYWORD = re.compile(r"kwargs\.(?:pop|get)\(\s*[\"']([a-z]\w*)|[\"']([a-z]\w*)[\"'] (?:not )?in kwargs")

#: Settings of older versions that an architecture may no longer read, and the only value that it still has.
RETIRED: Settings = {"position_embedding_type": "absolute"}

#: Similarity from which an unknown name in a published file is a misspelling: one letter in a dozen.
MISSPELT = 0.92


def select_settings(settings: Settings, config_class: Any, published: bool, place: str = "config") -> Settings:  # noqa: ANN401
    """Returns the settings for a config class, nested ones too. Raises TrialFailed at an unknown name.

    In a published file a name that the library does not read is left out, as the library would.
    """
    known = known_settings(config_class)
    selected: Settings = {}
    for name, value in settings.items():
        here = f"{place}.{name}"
        if public := implementation_of(name):
            selected |= {} if value is None else {public: value}
        elif name in known and not _is_replaced(name):
            selected[name] = _nested(value, config_class, name, published, here)
        elif not _is_left_out(name, value, known, published):
            raise refused(here, _unknown(name, config_class, known))
    return selected


def known_settings(config_class: Any) -> set[str]:  # noqa: ANN401
    """The names that a config class has, or that the source of its architecture reads."""
    fields = {field.name for field in dataclasses.fields(config_class)}
    names = fields | set(config_class.attribute_map) | _read_names(config_class)
    if "rope_parameters" in fields:
        names |= ROTARY
    return {name for name in names if not callable(getattr(config_class, name, None))}


def _is_replaced(name: str) -> bool:
    """Whether Halftime decides on a setting itself."""
    return name in FACTS or name in SWITCHES or name in CLASSIFICATION


def _is_left_out(name: str, value: object, known: set[str], published: bool) -> bool:
    """Whether an unknown setting may be omitted without changing the model."""
    if _is_replaced(name) or name in GENERATION or name in {"model_type", "image_size"}:
        return True
    if name in RETIRED:
        return bool(value == RETIRED[name])
    if NAMES_CODE.search(name) and is_off(value):
        return True
    return published and not difflib.get_close_matches(name, known, n=1, cutoff=MISSPELT)


def _nested(value: object, config_class: Any, name: str, published: bool, place: str) -> object:  # noqa: ANN401
    """The value of a setting; of a part with a config class of its own, the selected settings."""
    if not isinstance(value, dict) or name not in config_class.sub_configs:
        return _without_facts(value)
    part = config_class.sub_configs[name]
    if dataclasses.is_dataclass(part):
        return select_settings(value, part, published, place)
    model_type = value.get("model_type", config_class.sub_configs_defaults[name].model_type)
    if not isinstance(model_type, str) or model_type not in library().CONFIG_MAPPING:
        raise refused(f"{place}.model_type", "the library has no such architecture.")
    return select_settings(value, library().CONFIG_MAPPING[model_type], published, place) | {"model_type": model_type}


def _without_facts(value: object) -> object:
    """A plain value without what is not passed on at any other place either, such as the name of a file."""
    if isinstance(value, dict):
        return {name: _without_facts(inner) for name, inner in value.items() if name not in FACTS}
    return [_without_facts(inner) for inner in value] if isinstance(value, list) else value


def _unknown(name: str, config_class: Any, known: set[str]) -> str:  # noqa: ANN401
    if name in RETIRED:
        return f"{config_class.__name__} only has {RETIRED[name]!r} in this version of the library."
    near = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return f"{config_class.__name__} has no such setting.{hint}"


@functools.cache
def _read_names(config_class: Any) -> frozenset[str]:  # noqa: ANN401
    """Names that the source of an architecture reads from its config, besides those that every model may read."""
    own = {Path(inspect.getfile(parent)) for parent in config_class.__mro__ if _is_an_architectures(parent)}
    models = {path for config in own for path in config.parent.glob("modeling_*.py")}
    general = Path(inspect.getfile(library().PreTrainedModel))
    attributes = {name for path in {general} | models for name in _matches(ATTRIBUTE, path)}
    keywords = {name for path in own for name in _matches(KEYWORD, path)}
    return frozenset(attributes | keywords)


def _is_an_architectures(parent: type) -> bool:
    return parent.__module__.startswith("transformers.models.")


def _matches(pattern: re.Pattern[str], path: Path) -> set[str]:
    return {first or second for first, second in pattern.findall(path.read_text(encoding="utf-8"))}
